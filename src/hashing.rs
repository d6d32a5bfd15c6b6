//! Slow hashes: one pool for the process, with a bounded queue, so that neither all cores nor all memory go to them.
//!
//! Passwords of local directories may take every core. Answers to security questions take a part of them, and rest
//! for longer than they work: anybody can make somebody be asked, and guesses must not slow down logins.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock;
use crate::engine::questions::answers::HashJob;

/// The pool of the process.
pub fn pool() -> &'static Pool {
    &POOL
}

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Pool::new(cores, LONGEST_QUEUE)
});

/// Runs slow hashes off the runtime's threads.
#[derive(Debug)]
pub struct Pool {
    cores: Arc<Semaphore>,
    /// Held besides a core, for answers, and for a while after.
    lanes: Arc<Semaphore>,
    /// Working memory between hashes. Allocating 19 MiB anew for each would cost a quarter of the time, and with
    /// glibc's arenas the process would grow without need.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    waiting: Queue,
    waiting_answers: Queue,
}

#[derive(Debug)]
struct Queue {
    waiting: AtomicUsize,
    longest: usize,
}

impl Pool {
    /// As many hashes at once as `cores`, a quarter of them for answers, with `longest_queue` waiting at most.
    pub fn new(cores: usize, longest_queue: usize) -> Self {
        let queue = |longest| Queue {
            waiting: AtomicUsize::new(0),
            longest,
        };
        Self {
            cores: Arc::new(Semaphore::new(cores.max(1))),
            lanes: Arc::new(Semaphore::new((cores / 4).max(1))),
            memory: Arc::new(Mutex::new(Vec::new())),
            waiting: queue(longest_queue),
            waiting_answers: queue(longest_queue.min(LONGEST_QUEUE_OF_ANSWERS)),
        }
    }

    /// Does `work` with working memory that is worth keeping; `None` when too many are waiting already.
    ///
    /// A caller that goes away does not stop work that has begun; it keeps its permit until it is done, so that
    /// there is never more of it than cores.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static) -> Option<T> {
        let place = self.waiting.enter()?;
        let core = Arc::clone(&self.cores).acquire_owned().await.ok()?;
        drop(place);
        self.work(work, core, None).await
    }

    /// Hashes an answer; `None` when too many are waiting already.
    pub async fn answer(&self, job: HashJob) -> Option<[u8; 32]> {
        let place = self.waiting_answers.enter()?;
        let lane = Arc::clone(&self.lanes).acquire_owned().await.ok()?;
        let core = Arc::clone(&self.cores).acquire_owned().await.ok()?;
        drop(place);
        self.work(move |blocks| hash(&job, blocks), core, Some(lane)).await?
    }

    /// Passwords that wait for a core.
    pub fn waiting(&self) -> usize {
        self.waiting.waiting.load(Ordering::Relaxed)
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
        core: OwnedSemaphorePermit,
        lane: Option<OwnedSemaphorePermit>,
    ) -> Option<T> {
        let memory = Arc::clone(&self.memory);
        let runtime = tokio::runtime::Handle::current();
        let job = move || {
            let began = clock::monotonic();
            let mut blocks = memory.lock().pop().unwrap_or_default();
            let done = work(&mut blocks);
            memory.lock().push(blocks);
            drop(core);
            if let Some(lane) = lane {
                let rest = began.elapsed() * REST;
                runtime.spawn(async move {
                    tokio::time::sleep(rest).await;
                    drop(lane);
                });
            }
            done
        };
        tokio::task::spawn_blocking(job).await.ok()
    }
}

/// A place in a queue, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl Queue {
    fn enter(&self) -> Option<Place<'_>> {
        let place = Place(&self.waiting);
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        (before < self.longest).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Argon2id with 19 MiB, two passes, one lane (RFC 9106; the costs that OWASP recommends). `None` for a scheme that
/// this version does not know.
fn hash(job: &HashJob, blocks: &mut Vec<Block>) -> Option<[u8; 32]> {
    let argon2 = match job.scheme {
        1 => Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT),
        _ => return None,
    };
    let mut output = [0; 32];
    argon2_into(&argon2, job.input.expose(), &job.salt, &mut output, blocks).then_some(output)
}

/// Hashes with working memory that is grown as needed. False only for inputs beyond Argon2's bounds (4 GiB), which no
/// front end lets through.
pub fn argon2_into(argon2: &Argon2<'_>, input: &[u8], salt: &[u8], output: &mut [u8], blocks: &mut Vec<Block>) -> bool {
    let needed = argon2.params().block_count();
    if blocks.len() < needed {
        blocks.resize(needed, Block::new());
    }
    let memory = blocks.get_mut(..needed).unwrap_or_default();
    argon2
        .hash_password_into_with_memory(input, salt, output, memory)
        .is_ok()
}

/// Comparisons of passwords that wait at most.
const LONGEST_QUEUE: usize = 256;

/// Answers that wait at most: the last of them waits for about two seconds, which a RADIUS client bears with.
const LONGEST_QUEUE_OF_ANSWERS: usize = 32;

/// A lane rests this many times as long as it has worked: of two cores answers take a sixth at most.
const REST: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn job(input: &str) -> HashJob {
        HashJob {
            input: Secret::new(input),
            salt: [7; 16],
            scheme: 1,
        }
    }

    #[tokio::test]
    async fn equal_answers_hash_equally_and_others_do_not() {
        let pool = Pool::new(2, 8);
        let one = pool.answer(job("a")).await.unwrap();
        let again = pool.answer(job("a")).await.unwrap();
        let other = pool.answer(job("b")).await.unwrap();
        assert_eq!(one, again);
        assert_ne!(one, other);
        let salted = HashJob {
            salt: [8; 16],
            ..job("a")
        };
        assert_ne!(pool.answer(salted).await.unwrap(), one);
        let unknown = HashJob { scheme: 9, ..job("a") };
        assert_eq!(pool.answer(unknown).await, None);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_gives_its_place_back() {
        let pool = Pool::new(1, 0);
        assert_eq!(pool.run(|_| ()).await, None);
        assert_eq!(pool.answer(job("a")).await, None);
        assert_eq!(pool.waiting(), 0);
    }

    #[tokio::test]
    async fn answers_that_wait_leave_cores_to_passwords() {
        let pool = Arc::new(Pool::new(2, 64));
        let flood: Vec<_> = (0..8)
            .map(|number| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.answer(job(&number.to_string())).await })
            })
            .collect();
        tokio::task::yield_now().await;
        // One answer at most is worked on, so a core is free whatever waits.
        assert_eq!(pool.run(|_| 1).await, Some(1));
        assert!(pool.cores.available_permits() >= 1);
        for answer in flood {
            assert!(answer.await.unwrap().is_some());
        }
        assert!(pool.memory.lock().len() <= 2, "working memory is used again");
    }
}
