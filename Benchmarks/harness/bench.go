// SPDX-License-Identifier: Apache-2.0

// The harness of the Go program: the same commands on standard input, and the same answers, as bench.c.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

type kind int

const (
	one   kind = iota // the result is time / n
	each              // the result is time / (n × size)
	value             // run is called once, and sets b.value
)

type bench struct {
	n       int
	size    int
	state   any
	value   float64
	random  uint64
	started time.Time
	elapsed time.Duration
	before  runtime.MemStats
	allocs  uint64
	bytes   uint64
	counts  bool
}

type benchCase struct {
	name     string
	run      func(b *bench)
	size     int
	kind     kind
	setup    func(b *bench)
	teardown func(b *bench)
}

func (b *bench) resume() {
	if b.counts {
		runtime.ReadMemStats(&b.before)
	}
	b.started = time.Now()
}

func (b *bench) pause() {
	b.elapsed += time.Since(b.started)
	if b.counts {
		var after runtime.MemStats
		runtime.ReadMemStats(&after)
		b.allocs += after.Mallocs - b.before.Mallocs
		b.bytes += after.TotalAlloc - b.before.TotalAlloc
	}
}

func (b *bench) next() uint64 {
	b.random ^= b.random << 13
	b.random ^= b.random >> 7
	b.random ^= b.random << 17
	return b.random >> 32
}

// threads runs body on b.size goroutines at once, each with a bench of its own.
func (b *bench) threads(body func(b *bench)) {
	b.pause()
	before := b.elapsed
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	from, to := make([]time.Time, b.size), make([]time.Time, b.size)
	ready.Add(b.size)
	done.Add(b.size)
	for i := range b.size {
		own := *b
		own.random += uint64(i) * 0x9E3779B97F4A7C15
		go func() {
			ready.Done()
			<-start
			from[i] = time.Now()
			body(&own)
			to[i] = time.Now()
			done.Done()
		}()
	}
	ready.Wait()
	b.resume()
	close(start)
	done.Wait()
	b.pause()
	first, last := from[0], to[0]
	for i := range b.size {
		if from[i].Before(first) {
			first = from[i]
		}
		if to[i].After(last) {
			last = to[i]
		}
	}
	b.elapsed = before + last.Sub(first)
	b.resume()
}

func (b *bench) measure(c *benchCase, n int) {
	b.n, b.elapsed, b.allocs, b.bytes = n, 0, 0, 0
	b.resume()
	c.run(b)
	b.pause()
}

func (b *bench) operations(c *benchCase) float64 {
	if c.kind == each && c.size > 0 {
		return float64(b.n) * float64(c.size)
	}
	return float64(b.n)
}

func (b *bench) calibrate(c *benchCase, target time.Duration) int {
	n := 1
	for c.kind != value {
		b.measure(c, n)
		if b.elapsed*5 >= target*4 {
			break
		}
		grow := min(max(float64(target)/max(float64(b.elapsed), 1), 1.2), 20)
		n = int(float64(n)*grow) + 1
	}
	return n
}

// cpu is the processor time of the whole process.
func cpu() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// held is the bytes of live objects on the heap.
func held() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func quantile(numbers []float64, p float64) float64 {
	sort.Float64s(numbers)
	return numbers[int(p*float64(len(numbers)-1))]
}

func find(name string) *benchCase {
	for i := range cases {
		if cases[i].name == name {
			return &cases[i]
		}
	}
	fmt.Fprintln(os.Stderr, "benchmark: there is no case", name)
	os.Exit(2)
	return nil
}

func serve() {
	var b *bench
	var c *benchCase
	n := 1
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "open":
			c = find(words[1])
			b = &bench{size: c.size, random: 88172645463325252}
			if c.setup != nil {
				c.setup(b)
			}
			var target int64
			_, _ = fmt.Sscan(words[2], &target)
			n = b.calibrate(c, time.Duration(target))
			fmt.Printf("{\"n\": %d}\n", n)
		case "run":
			b.measure(c, n)
			result := float64(b.elapsed.Nanoseconds()) / b.operations(c)
			if c.kind == value {
				result = b.value
			}
			fmt.Printf("{\"value\": %g}\n", result)
		case "count":
			b.counts = true
			b.measure(c, n)
			b.measure(c, n)
			b.counts = false
			fmt.Printf("{\"allocs\": %g, \"bytes\": %g}\n", float64(b.allocs)/b.operations(c), float64(b.bytes)/b.operations(c))
		case "close":
			if c.teardown != nil {
				c.teardown(b)
			}
			fmt.Println("{}")
		}
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--list" {
		for _, c := range cases {
			fmt.Println(c.name)
		}
		return
	}
	serve()
}
