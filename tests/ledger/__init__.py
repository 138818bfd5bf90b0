"""Load with a ledger, and the fault drills of `bin/chaos`. Python 3.11's standard library is enough.

`ledger.py` holds what was sent, what was acknowledged and what must be stored in the end. `client.py` is one HTTP
connection, `people.py` what a member does through both faces, `crowd.py` many of them with the check at the end.
`site.py` runs the program with its Postgres, `storm.py` makes connections that misbehave, `drills.py` and
`load_drills.py` have one function for each drill, `run.py` measures and judges a drill, `report.py` prints it.
"""
