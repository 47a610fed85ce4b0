/*
 * leak_check.c — counters read before and after the work: what was left open, and what the work costs while it runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A server reads them every minute, or when somebody asks. At rest they must come back to where they were.
 */
#include <belay.h>

#include "check.h"

#include <inttypes.h>

struct counters { uint64_t contexts, tasks, records, threads; };

static struct counters read_counters(void) {
    belay_sample samples[] = {
        {.name = "/ctx/live:contexts"},
        {.name = "/task/live:tasks"},
        {.name = "/memory/records:records"},
        {.name = "/executor/threads:threads"},
    };
    if (belay_metrics_read(samples, 4) != BELAY_OK) exit(1);   /* a name that this version does not know */
    return (struct counters){samples[0].value, samples[1].value, samples[2].value, samples[3].value};
}

static void print_growth(const char *when, struct counters from, struct counters to) {
    printf("  %s: %" PRId64 " contexts, %" PRId64 " tasks, %" PRId64 " records, %" PRId64 " threads more\n", when,
           (int64_t)(to.contexts - from.contexts), (int64_t)(to.tasks - from.tasks),
           (int64_t)(to.records - from.records), (int64_t)(to.threads - from.threads));
}

static void nothing(void *arg) { (void)arg; }

static void serve(belay_ctx server, bool careless) {
    belay_ctx request = belay_with_timeout(server, BELAY_SEC(1)), step = belay_with_cancel(request);
    (void)belay_is_done(step);
    if (!careless) belay_close(step);
    belay_close(request);   /* ends the step too, but does not close it */
}

int main(void) {
    belay_ctx server = belay_with_cancel(belay_background());
    struct counters start = read_counters();

    for (int i = 0; i < 1000; i++) serve(server, false);
    struct counters now = read_counters();
    print_growth("after 1,000 requests", start, now);
    CHECK(now.contexts == start.contexts && now.tasks == start.tasks, "what was opened is closed");

    belay_ctx request = belay_with_timeout(server, BELAY_SEC(1));
    struct counters asked = read_counters();
    belay_reg reg = belay_on_done(request, nothing, NULL);
    now = read_counters();
    print_growth("a listener", asked, now);
    CHECK(now.tasks == asked.tasks + 1 && now.records > asked.records, "a listener costs a task and a record");
    belay_stop(reg);
    belay_close(request);

    for (int i = 0; i < 10; i++) serve(server, true);
    now = read_counters();
    print_growth("after 10 careless requests", start, now);
    CHECK(now.contexts == start.contexts + 20, "each forgotten close keeps its context, and the parent with it");
    belay_close(server);
    return 0;
}
