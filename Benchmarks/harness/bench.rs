// SPDX-License-Identifier: Apache-2.0

// The harness of the Rust programs: the same commands on standard input, and the same answers, as bench.c. build.sh
// puts the rival's file behind it; that gives `fn cases() -> Vec<Case>`.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

#[allow(dead_code)]
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    One,   // the result is time / n
    Each,  // the result is time / (n × size)
    Value, // run is called once, and sets b.value
}

/// Makes the compiler believe that the value is used; std's own is newer than the oldest compiler that will do.
#[allow(dead_code)]
fn black_box<T: Copy>(value: T) {
    unsafe { std::ptr::read_volatile(&value) };
}

struct Bench {
    n: u64,
    size: u64,
    random: u64,
    value: f64,
    started: Instant,
    elapsed: Duration,
    counted: [u64; 4], // calls and bytes so far, and at the last resume
}

extern "C" {
    fn dlsym(handle: *const u8, name: *const u8) -> *const u8;
}

/// The allocator's calls and bytes, when heap.c is preloaded.
fn heap_counts() -> (u64, u64) {
    let (mut calls, mut bytes) = (0, 0);
    unsafe {
        let found = dlsym(std::ptr::null(), b"bench_heap_counts\0".as_ptr());
        if !found.is_null() {
            let counts: extern "C" fn(*mut u64, *mut u64) = std::mem::transmute(found);
            counts(&mut calls, &mut bytes);
        }
    }
    (calls, bytes)
}

#[allow(dead_code)]
impl Bench {
    fn resume(&mut self) {
        (self.counted[2], self.counted[3]) = heap_counts();
        self.started = Instant::now();
    }

    fn pause(&mut self) {
        self.elapsed += self.started.elapsed();
        let (calls, bytes) = heap_counts();
        self.counted[0] += calls - self.counted[2];
        self.counted[1] += bytes - self.counted[3];
    }

    /// A number from 0 to 2^32 - 1.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 32
    }

    fn measure(&mut self, work: &mut dyn FnMut(&mut Bench), n: u64) {
        self.n = n;
        self.elapsed = Duration::ZERO;
        self.counted = [0; 4];
        self.resume();
        work(self);
        self.pause();
    }

    fn operations(&self, kind: Kind) -> f64 {
        self.n as f64 * if kind == Kind::Each { self.size.max(1) as f64 } else { 1.0 }
    }

    fn calibrate(&mut self, work: &mut dyn FnMut(&mut Bench), kind: Kind, target: Duration) -> u64 {
        let mut n = 1;
        while kind != Kind::Value {
            self.measure(work, n);
            if self.elapsed * 5 >= target * 4 {
                break;
            }
            let grow = target.as_secs_f64() / self.elapsed.as_secs_f64().max(1e-9);
            n = (n as f64 * grow.clamp(1.2, 20.0)).ceil() as u64;
        }
        n
    }
}

/// A case: `make` sets up, and returns what does the work b.n times.
struct Case {
    name: String,
    size: u64,
    kind: Kind,
    make: fn(&mut Bench) -> Box<dyn FnMut(&mut Bench)>,
}

#[allow(dead_code)]
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|k| k.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

#[allow(dead_code)]
fn quantile(numbers: &mut [f64], p: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[(p * (numbers.len() - 1) as f64) as usize]
}

fn main() {
    let cases = cases();
    if std::env::args().nth(1).as_deref() == Some("--list") {
        cases.iter().for_each(|case| println!("{}", case.name));
        return;
    }
    let mut open: Option<(Bench, Box<dyn FnMut(&mut Bench)>, Kind, u64)> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words[0], &mut open) {
            ("open", _) => {
                let case = cases.iter().find(|case| case.name == words[1]).unwrap_or_else(|| {
                    eprintln!("benchmark: there is no case {}", words[1]);
                    std::process::exit(2)
                });
                let mut b = Bench {
                    n: 1,
                    size: case.size,
                    random: 88172645463325252,
                    value: f64::NAN,
                    started: Instant::now(),
                    elapsed: Duration::ZERO,
                    counted: [0; 4],
                };
                let mut work = (case.make)(&mut b);
                let target = Duration::from_nanos(words[2].parse().unwrap_or(1));
                let n = b.calibrate(&mut *work, case.kind, target);
                println!("{{\"n\": {n}}}");
                open = Some((b, work, case.kind, n));
            }
            ("run", Some((b, work, kind, n))) => {
                b.measure(&mut **work, *n);
                let time = b.elapsed.as_nanos() as f64 / b.operations(*kind);
                println!("{{\"value\": {}}}", if *kind == Kind::Value { b.value } else { time });
            }
            ("count", Some((b, work, kind, n))) => {
                b.measure(&mut **work, *n);
                b.measure(&mut **work, *n);
                let operations = b.operations(*kind);
                let (calls, bytes) = (b.counted[0] as f64 / operations, b.counted[1] as f64 / operations);
                println!("{{\"allocs\": {calls}, \"bytes\": {bytes}}}");
            }
            _ => {
                open = None;
                println!("{{}}");
            }
        }
        let _ = std::io::stdout().flush();
    }
}
