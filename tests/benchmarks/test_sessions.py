"""What a session weighs is the difference between many and more, not what the first ones fill (E17)."""

from benchmarks.proxy_sessions import Sessions, shown, verdicts


def test_what_each_weighs_is_taken_from_the_last_two():
    found = Sessions([25, 1_000, 2_000], [50_000_000, 60_000_000, 62_000_000])
    assert found.each == 2_000
    assert verdicts(found) == [["memory of each session", "<= 3.0 KB", "2.0 KB", "reached"]]
    assert [line.split() for line in shown(found).splitlines()[2:]] == [
        ["25", "50.0"],
        ["1,000", "60.0"],
        ["2,000", "62.0"],
    ]
