//! Slow comparisons: as many at once as there are cores, a bounded number waiting, working memory reused.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use argon2::Block;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::directory::local::hash::StoredPassword;
use crate::secret::Secret;

/// Runs slow comparisons off the runtime's threads.
#[derive(Debug)]
pub(super) struct Workers {
    permits: Arc<Semaphore>,
    /// Working memory between comparisons. Allocating 19 MiB anew for each would cost a quarter of the
    /// time, and with glibc's arenas the process would grow without need.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    waiting: AtomicUsize,
    longest_queue: usize,
}

impl Workers {
    /// As many as there are cores, with `longest_queue` comparisons waiting at most.
    pub(super) fn new(longest_queue: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            permits: Arc::new(Semaphore::new(cores)),
            memory: Arc::new(Mutex::new(Vec::new())),
            waiting: AtomicUsize::new(0),
            longest_queue,
        }
    }

    /// Compares `password` with `stored`; `None` when too many are waiting already.
    ///
    /// A caller that goes away does not stop a comparison that has begun; it keeps its permit until it
    /// is done, so that there are never more of them than cores.
    pub(super) async fn matches(&self, stored: Arc<StoredPassword>, password: Secret) -> Option<bool> {
        let place = Place::take(&self.waiting, self.longest_queue)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        drop(place);
        let memory = Arc::clone(&self.memory);
        let compare = move || {
            let mut blocks = memory.lock().pop().unwrap_or_default();
            let matches = stored.matches(&password, &mut blocks);
            memory.lock().push(blocks);
            drop(permit);
            matches
        };
        tokio::task::spawn_blocking(compare).await.ok()
    }

    /// Comparisons waiting for a core.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A place in the queue, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, longest: usize) -> Option<Self> {
        let place = Self(waiting);
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        (before < longest).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
