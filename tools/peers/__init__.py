"""openpi's own code as a peer: parameters and inputs by recipe, and the script that runs openpi.

Only ``make_openpi_goldens`` imports openpi; the recipes need numpy alone, so that tests build the
same parameters and inputs and compare with the arrays that openpi answered.
"""
