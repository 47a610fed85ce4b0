// SPDX-License-Identifier: Apache-2.0

// The timer cases of harness/timer_cases.h, with time.AfterFunc.
package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

func delay(b *bench) time.Duration { return 10*time.Second + time.Duration(b.next()*14) }

type outstanding struct {
	timers []*time.Timer
	oldest int
}

func ignore() {}

func setupTimers(b *bench) {
	o := &outstanding{timers: make([]*time.Timer, b.size)}
	for i := range o.timers {
		o.timers[i] = time.AfterFunc(delay(b), ignore)
	}
	b.state = o
}

func setupFixed(b *bench) {
	o := &outstanding{timers: make([]*time.Timer, b.size)}
	for i := range o.timers {
		o.timers[i] = time.AfterFunc(30*time.Second, ignore)
	}
	b.state = o
}

func stopTimers(b *bench) {
	for _, t := range b.state.(*outstanding).timers {
		t.Stop()
	}
}

func runChurn(b *bench) {
	for range b.n {
		time.AfterFunc(delay(b), ignore).Stop()
	}
}

func runOldest(b *bench) {
	o := b.state.(*outstanding)
	for range b.n {
		o.timers[o.oldest].Stop()
		o.timers[o.oldest] = time.AfterFunc(30*time.Second, ignore)
		o.oldest = (o.oldest + 1) % len(o.timers)
	}
}

func runRandom(b *bench) {
	o := b.state.(*outstanding)
	for range b.n {
		victim := int(b.next() * uint64(b.size) >> 32)
		o.timers[victim].Stop()
		o.timers[victim] = time.AfterFunc(delay(b), ignore)
	}
}

func runMoved(b *bench) {
	o := b.state.(*outstanding)
	for range b.n {
		o.timers[int(b.next()*uint64(b.size)>>32)].Reset(30 * time.Second)
	}
}

func runExpire(b *bench) {
	const count = 1000000
	start := time.Now().Add(2500 * time.Millisecond)
	var left atomic.Int64
	left.Store(count)
	fire := func() { left.Add(-1) }
	for range count {
		time.AfterFunc(time.Until(start)+time.Duration(b.next()*1000000000>>32), fire)
	}
	if time.Now().After(start) {
		fmt.Fprintln(os.Stderr, "benchmark: too slow to add 10^6 timers in 2.5 s")
		os.Exit(1)
	}
	before := cpu()
	for left.Load() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	b.value = float64(cpu()-before) / count
}

// lateness returns the part of 20,000 timers' delays beyond their instants, or how many were early.
func lateness(part float64) func(b *bench) {
	return func(b *bench) {
		const count = 20000
		late := make([]float64, count)
		var left atomic.Int64
		left.Store(count)
		for i := range late {
			d := 100*time.Millisecond + time.Duration(b.next()*2000000000>>32)
			due := time.Now().Add(d)
			time.AfterFunc(d, func() {
				late[i] = float64(time.Since(due))
				left.Add(-1)
			})
		}
		for left.Load() > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if part >= 0 {
			b.value = quantile(late, part) / 1000
			return
		}
		for _, l := range late {
			if l < 0 {
				b.value++
			}
		}
	}
}

func runTimerBytes(b *bench) {
	const count = 500000
	timers := make([]*time.Timer, count)
	before := held()
	for i := range timers {
		timers[i] = time.AfterFunc(delay(b), ignore)
	}
	b.value = (held() - before) / count
	for _, t := range timers {
		t.Stop()
	}
}

func churnThreads(b *bench) {
	b.threads(func(b *bench) {
		for range b.n {
			time.AfterFunc(delay(b), ignore).Stop()
		}
	})
}

func init() {
	for _, n := range []int{1000, 100000, 1000000} {
		add(fmt.Sprintf("timer.churn.%d", n), runChurn, n, one, setupTimers, stopTimers)
		add(fmt.Sprintf("timer.oldest.%d", n), runOldest, n, one, setupFixed, stopTimers)
		add(fmt.Sprintf("timer.random.%d", n), runRandom, n, one, setupTimers, stopTimers)
		add(fmt.Sprintf("timer.moved.%d", n), runMoved, n, one, setupFixed, stopTimers)
	}
	for _, n := range []int{1, 2, 4, 8, 16} {
		setup := func(b *bench) {
			size := b.size
			b.size = 100000
			setupTimers(b)
			b.size = size
		}
		add(fmt.Sprintf("timer.threads.%d", n), churnThreads, n, each, setup, stopTimers)
	}
	add("timer.expire", runExpire, 0, value, nil, nil)
	add("timer.late.p50", lateness(0.5), 0, value, nil, nil)
	add("timer.late.p99", lateness(0.99), 0, value, nil, nil)
	add("timer.early", lateness(-1), 0, value, nil, nil)
	add("timer.bytes", runTimerBytes, 0, value, nil, nil)
}
