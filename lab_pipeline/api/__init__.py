"""The lab over HTTP: resources on the real stores."""
