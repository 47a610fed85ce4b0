// SPDX-License-Identifier: Apache-2.0
//
// bench-title: tokio (CancellationToken of tokio-util; time::Sleep on the current-thread runtime)
// bench-debian: librust-tokio-dev librust-tokio-util-dev
// bench-crates: tokio = { version = "1", features = ["rt", "time"] };tokio-util = { version = "0.7" }

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use tokio_util::sync::CancellationToken;

fn derive(b: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    let parent = CancellationToken::new();
    let _ = b;
    Box::new(move |b| {
        for _ in 0..b.n {
            let child = parent.child_token();
            child.cancel();
        }
    })
}

fn derive_root(_: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    Box::new(|b| {
        for _ in 0..b.n {
            CancellationToken::new().cancel();
        }
    })
}

fn asked(token: CancellationToken) -> Box<dyn FnMut(&mut Bench)> {
    Box::new(move |b| {
        for _ in 0..b.n {
            black_box(token.is_cancelled());
        }
    })
}

fn ask_live(_: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    asked(CancellationToken::new())
}

fn ask_done(_: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    let token = CancellationToken::new();
    token.cancel();
    asked(token)
}

fn fan(_: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    Box::new(|b| {
        for _ in 0..b.n {
            let top = CancellationToken::new();
            let children: Vec<_> = (0..b.size).map(|_| top.child_token()).collect();
            top.cancel();
            drop(children);
        }
    })
}

fn chain(_: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    Box::new(|b| {
        for _ in 0..b.n {
            let top = CancellationToken::new();
            let mut links = vec![top.child_token()];
            while (links.len() as u64) < b.size {
                links.push(links[links.len() - 1].child_token());
            }
            top.cancel();
            drop(links);
        }
    })
}

fn threads(_: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    let parent = CancellationToken::new();
    Box::new(move |b| {
        b.pause();
        let (before, n) = (b.elapsed, b.n);
        b.resume();
        let barrier = std::sync::Barrier::new(b.size as usize);
        let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
            let work = || {
                barrier.wait();
                let from = Instant::now();
                for _ in 0..n {
                    parent.child_token().cancel();
                }
                (from, Instant::now())
            };
            let all: Vec<_> = (0..b.size).map(|_| scope.spawn(work)).collect();
            all.into_iter().filter_map(|one| one.join().ok()).collect()
        });
        b.pause();
        if let (Some(from), Some(to)) = (spans.iter().map(|s| s.0).min(), spans.iter().map(|s| s.1).max()) {
            b.elapsed = before + (to - from);
        }
        b.resume();
    })
}

fn bytes(_: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    Box::new(|b| {
        const COUNT: usize = 200000;
        let parent = CancellationToken::new();
        let mut all: Vec<_> = (0..COUNT).map(|_| parent.clone()).collect();
        let before = resident();
        for one in &mut all {
            *one = parent.child_token();
        }
        b.value = (resident() - before) / COUNT as f64;
    })
}

// A sleep is armed by its first poll, and disarmed when it is dropped.
struct Timers {
    runtime: tokio::runtime::Runtime,
    sleeps: Vec<Option<Pin<Box<tokio::time::Sleep>>>>,
    oldest: usize,
}

fn delay(b: &mut Bench) -> Duration {
    Duration::from_nanos(10_000_000_000 + b.next() * 14)
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

thread_local!(static WAKER: std::task::Waker = Arc::new(Nobody).into());

fn arm(delay: Duration) -> Pin<Box<tokio::time::Sleep>> {
    let mut sleep = Box::pin(tokio::time::sleep(delay));
    let pending = WAKER.with(|waker| sleep.as_mut().poll(&mut Context::from_waker(waker)) == Poll::Pending);
    assert!(pending);
    sleep
}

fn outstanding(b: &mut Bench, fixed: bool) -> Timers {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let entered = runtime.enter();
    let sleeps = (0..b.size).map(|_| Some(arm(if fixed { Duration::from_secs(30) } else { delay(b) }))).collect();
    drop(entered);
    Timers { runtime, sleeps, oldest: 0 }
}

fn churn(b: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    let t = outstanding(b, false);
    Box::new(move |b| {
        let _entered = t.runtime.enter();
        for _ in 0..b.n {
            drop(arm(delay(b)));
        }
    })
}

fn oldest(b: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    let mut t = outstanding(b, true);
    Box::new(move |b| {
        let _entered = t.runtime.enter();
        for _ in 0..b.n {
            t.sleeps[t.oldest] = None;
            t.sleeps[t.oldest] = Some(arm(Duration::from_secs(30)));
            t.oldest = (t.oldest + 1) % t.sleeps.len();
        }
    })
}

fn random(b: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    let mut t = outstanding(b, false);
    Box::new(move |b| {
        let _entered = t.runtime.enter();
        for _ in 0..b.n {
            let victim = (b.next() * b.size >> 32) as usize;
            t.sleeps[victim] = None;
            t.sleeps[victim] = Some(arm(delay(b)));
        }
    })
}

// A sleep that is armed stays so: it needs no poll.
fn moved(b: &mut Bench) -> Box<dyn FnMut(&mut Bench)> {
    let mut t = outstanding(b, true);
    Box::new(move |b| {
        let _entered = t.runtime.enter();
        for _ in 0..b.n {
            let one = (b.next() * b.size >> 32) as usize;
            let instant = tokio::time::Instant::now() + Duration::from_secs(30);
            t.sleeps[one].as_mut().expect("a sleep").as_mut().reset(instant);
        }
    })
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |name: &str, size, kind, make| all.push(Case { name: name.to_string(), size, kind, make });
    add("derive.cancel", 0, Kind::One, derive as fn(&mut Bench) -> Box<dyn FnMut(&mut Bench)>);
    add("derive.cancel.root", 0, Kind::One, derive_root);
    add("end.cancel", 0, Kind::One, derive);
    add("ask.is_done.live", 0, Kind::One, ask_live);
    add("ask.is_done.done", 0, Kind::One, ask_done);
    add("bytes.cancel", 0, Kind::Value, bytes);
    for n in [1, 100, 10000, 100000] {
        add(&format!("tree.fan.{n}"), n, Kind::Each, fan);
    }
    for n in [1, 10, 100, 1000] {
        add(&format!("tree.chain.{n}"), n, Kind::Each, chain);
    }
    for n in [2, 4, 8, 16] {
        add(&format!("threads.cancel.{n}"), n, Kind::Each, threads);
    }
    for n in [1000, 100000, 1000000] {
        add(&format!("timer.churn.{n}"), n, Kind::One, churn);
        add(&format!("timer.oldest.{n}"), n, Kind::One, oldest);
        add(&format!("timer.random.{n}"), n, Kind::One, random);
        add(&format!("timer.moved.{n}"), n, Kind::One, moved);
    }
    all
}
