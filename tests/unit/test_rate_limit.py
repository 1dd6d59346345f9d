import pytest

from consumer.rate_limit import RateLimiter


def test_pace_keeps_the_rate_on_average_at_any_rate():
    for rate in (0.5, 10, 3_000):
        pace, now, sent = RateLimiter(rate), 1_000, 0
        while now < 11_000:
            if delay := pace.delay_ms(now):
                now += delay
            else:
                pace.consume(now, 1)
                sent += 1
        assert sent == pytest.approx(rate * 10, rel=0.01, abs=1)
