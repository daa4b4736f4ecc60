"""What a task costs, in ToAPIs' credits.

ToAPIs publishes no price of kling-v3 (facts §0), so these are Kling's list prices per second (facts §6); their ratios are
what all relays share: pro about 1.33 times std, sound 1.5 times silence.
"""

from __future__ import annotations

from batchrunner.emulator.validation import Submission

CREDITS_PER_USD = 200
"""Facts §3."""
MILLI_USD_PER_SECOND = {"720P": 84, "1080P": 112, "720P+Sound": 126, "1080P+Sound": 168}


def price_credits(submission: Submission) -> int:
    """Whole credits: a duration is a multiple of 5 s, and a thousandth of a dollar is a fifth of a credit."""
    return MILLI_USD_PER_SECOND[submission.billing_key] * submission.duration * CREDITS_PER_USD // 1000
