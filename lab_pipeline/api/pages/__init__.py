"""The lab's own pages, under `/lab`: rendered here, with everything that they load served here."""
