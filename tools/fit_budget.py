"""See conf/fit_budget.yaml for the options."""

from mnv2dense.cli.fit_budget import fit_budget

if __name__ == "__main__":
    fit_budget()
