/*
 * deadline.c — deadlines: the earlier one counts, a cancel that comes first wins, and a timeout can say whose it was.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <belay.h>

#include "check.h"

#include <string.h>

enum { DATABASE_TOO_SLOW = 1201 };   /* causes carry codes of your own */

static void the_earlier_deadline_counts(belay_ctx request) {
    belay_instant outer = 0, generous = 0, strict = 0;
    BELAY_SCOPED belay_ctx two_hours = belay_with_timeout(request, BELAY_SEC(7200));
    BELAY_SCOPED belay_ctx one_minute = belay_with_timeout(request, BELAY_SEC(60));

    CHECK(belay_deadline(request, &outer) && belay_deadline(two_hours, &generous), "both have a deadline");
    CHECK(generous == outer, "a child cannot have more time than its parent");
    CHECK(belay_deadline(one_minute, &strict) && strict < outer, "but it can have less");
    CHECK(belay_remaining(one_minute) <= BELAY_SEC(60), "what remains is the budget for the next call");
}

static void a_timeout_says_whose_it_was(belay_ctx request) {
    BELAY_SCOPED belay_ctx query =
        belay_with_timeout_cause(request, BELAY_MS(10), DATABASE_TOO_SLOW, "the database had 10 ms");
    belay_instant deadline = 0;
    belay_cause why;
    CHECK(belay_deadline(query, &deadline), "the query has a deadline of its own");
    CHECK(belay_wait(query, BELAY_FOREVER) == BELAY_DEADLINE_EXCEEDED, "waiting ends when the deadline passes");
    CHECK(belay_now() >= deadline, "never early");
    CHECK(belay_cause_of(query, &why) && why.code == DATABASE_TOO_SLOW, "the cause has the code that was given");
    printf("  query: %s, because %s\n", belay_status_string(belay_err(query)), why.message);
    CHECK(belay_remaining(query) == 0, "nothing remains");
    CHECK(!belay_is_done(request), "the request, which has longer, goes on");
}

static void a_cancel_that_comes_first_wins(belay_ctx request) {
    BELAY_SCOPED belay_ctx query = belay_with_timeout_cause(request, BELAY_SEC(60), DATABASE_TOO_SLOW, "too slow");
    belay_cause why;
    belay_cancel(query);
    CHECK(belay_err(query) == BELAY_CANCELED, "cancelled is cancelled, whatever deadline it had");
    CHECK(belay_cause_of(query, &why) && why.code == BELAY_CANCELED, "and leaves no trace of the timeout's cause");
}

static void past_and_never(belay_ctx request) {
    BELAY_SCOPED belay_ctx late = belay_with_deadline(request, belay_now() - BELAY_MS(1));
    BELAY_SCOPED belay_ctx too_late =
        belay_with_deadline_cause(request, belay_now(), DATABASE_TOO_SLOW, "nothing was left for the database");
    BELAY_SCOPED belay_ctx endless = belay_with_timeout(belay_background(), BELAY_FOREVER);
    belay_instant deadline;
    belay_cause why;
    CHECK(belay_err(late) == BELAY_DEADLINE_EXCEEDED, "a deadline in the past: done at birth, no work is begun");
    CHECK(belay_cause_of(too_late, &why) && why.code == DATABASE_TOO_SLOW, "with its cause, where it has one");
    CHECK(!belay_deadline(endless, &deadline), "BELAY_FOREVER adds no deadline");
    CHECK(belay_remaining(endless) == BELAY_FOREVER, "so for ever remains");
}

int main(void) {
    BELAY_SCOPED belay_ctx request = belay_with_timeout(belay_background(), BELAY_SEC(3600));
    puts("the earlier deadline counts");
    the_earlier_deadline_counts(request);
    puts("a timeout says whose it was");
    a_timeout_says_whose_it_was(request);
    puts("a cancel that comes first wins");
    a_cancel_that_comes_first_wins(request);
    puts("past and never");
    past_and_never(request);
    return 0;
}
