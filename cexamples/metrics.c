/*
 * metrics.c — what Belay does, in numbers: read by name, listed, and as text for Prometheus.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <belay.h>
#include <inttypes.h>
#include <string.h>

#include "check.h"

static void serve(void) {
    belay_ctx request = belay_with_timeout(belay_background(), BELAY_SEC(1));
    belay_ctx query = belay_lite(request, BELAY_MS(100));
    (void)belay_is_done(query);
    belay_close(query);
    belay_close(request);
}

int main(void) {
    for (int i = 0; i < 1000; i++) serve();

    /* A few by name: the names stay. */
    belay_sample samples[] = {
        {.name = "/ctx/created/timeout:contexts"},
        {.name = "/ctx/attached:contexts"},
        {.name = "/ctx/live:contexts"},
    };
    CHECK(belay_metrics_read(samples, 3) == BELAY_OK, "the names are known");
    CHECK(samples[0].value == 1000, "a thousand requests had a timeout");
    CHECK(samples[1].value == 0, "none of them joined the tree: nobody listened");
    CHECK(samples[2].value == 0, "and nothing is left of them");

    /* All that there are, with what they mean. */
    belay_metric metric;
    for (size_t i = 0; belay_metric_at(i, &metric); i++) {
        belay_sample sample = {.name = metric.name};
        (void)belay_metrics_read(&sample, 1);
        printf("%-34s %12" PRIu64 "  %s\n", metric.name, sample.value, metric.description);
    }

    /* What a server answers to GET /metrics. */
    static char text[BELAY_PROMETHEUS_SIZE];
    ptrdiff_t length = belay_metrics_prometheus(text, sizeof text);
    printf("\nContent-Type: text/plain; version=0.0.4\nContent-Length: %td\n\n%s", length, text);
    CHECK(strstr(text, "\nbelay_contexts_created_total{kind=\"timeout\"} 1000\n") != NULL, "the same number");
    return 0;
}
