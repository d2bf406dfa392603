"""See conf/doctor.yaml for the options."""

from mnv2dense.cli.doctor import doctor

if __name__ == "__main__":
    doctor()
