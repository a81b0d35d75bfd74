"""The scripted worker of the tests, with little patience for a backend that is away: ``kills.py`` kills it often."""

GIVE_UP_S = 3.0

if __name__ == "__main__":
    from tests.support import scripted_worker

    scripted_worker.GIVE_UP_S = GIVE_UP_S
    scripted_worker.main()
