"""How far the best of many parameter sets can be believed. Pure functions over sums of sets by days."""
