//! Look-ups remembered for a while, and one question to the server for all who ask it at once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::engine::request::LoginForm;
use crate::engine::{Lookup, Person};

pub(super) struct LookUpCache {
    found: Cache<LoginForm, Arc<Person>>,
    not_found: Cache<LoginForm, NotFound>,
    in_flight: Mutex<HashMap<LoginForm, Arc<OnceCell<Lookup>>>>,
    /// Grows when all is forgotten, so that an answer from before is not remembered after.
    generation: AtomicU64,
}

#[derive(Clone, Copy)]
enum NotFound {
    Unknown,
    Ambiguous,
}

impl LookUpCache {
    /// Remembers people for `span`, and for five seconds of it at most that there is nobody.
    pub(super) fn new(span: Duration) -> Self {
        fn cache<V: Clone + Send + Sync + 'static>(span: Duration) -> Cache<LoginForm, V> {
            // A cache without room keeps nothing.
            let room = if span.is_zero() { 0 } else { MOST_REMEMBERED };
            Cache::builder().max_capacity(room).time_to_live(span).build()
        }
        Self {
            found: cache(span),
            not_found: cache(span.min(LONGEST_NOT_FOUND)),
            in_flight: Mutex::new(HashMap::new()),
            generation: AtomicU64::new(0),
        }
    }

    /// What is remembered of `form`.
    pub(super) fn known(&self, form: &LoginForm) -> Option<Lookup> {
        if let Some(person) = self.found.get(form) {
            return Some(Lookup::Found(person));
        }
        self.not_found.get(form).map(|not_found| match not_found {
            NotFound::Unknown => Lookup::Unknown,
            NotFound::Ambiguous => Lookup::Ambiguous,
        })
    }

    /// What is remembered of `form`, or else what `find` finds. Who asks while it is being found waits
    /// for the same answer.
    pub(super) async fn get(&self, form: &LoginForm, find: impl Future<Output = Lookup>) -> Lookup {
        if let Some(known) = self.known(form) {
            return known;
        }
        let flight = InFlight {
            cache: self,
            form,
            cell: Arc::clone(self.in_flight.lock().entry(form.clone()).or_default()),
        };
        let find_and_remember = || async {
            let generation = self.generation.load(Ordering::Acquire);
            let lookup = find.await;
            if generation == self.generation.load(Ordering::Acquire) {
                self.remember(form, &lookup);
            }
            lookup
        };
        flight.cell.get_or_init(find_and_remember).await.clone()
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.in_flight.lock().clear();
        self.found.invalidate_all();
        self.not_found.invalidate_all();
    }

    fn remember(&self, form: &LoginForm, lookup: &Lookup) {
        match lookup {
            Lookup::Found(person) => self.found.insert(form.clone(), Arc::clone(person)),
            Lookup::Unknown => self.not_found.insert(form.clone(), NotFound::Unknown),
            Lookup::Ambiguous => self.not_found.insert(form.clone(), NotFound::Ambiguous),
            // An outage is over when it is over.
            Lookup::Unavailable(_) => {}
        }
    }
}

/// One asker's share in a question; the last one, or the first with the answer, removes it.
struct InFlight<'a> {
    cache: &'a LookUpCache,
    form: &'a LoginForm,
    cell: Arc<OnceCell<Lookup>>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut all = self.cache.in_flight.lock();
        let ours = all.get(self.form).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        // Two: the map's and our own. Others can come by only while the map is not locked.
        if ours && (self.cell.initialized() || Arc::strong_count(&self.cell) == 2) {
            all.remove(self.form);
        }
    }
}

const MOST_REMEMBERED: u64 = 10_000;
const LONGEST_NOT_FOUND: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn form() -> LoginForm {
        LoginForm::Plain("ana".into())
    }

    #[tokio::test]
    async fn who_asks_at_once_shares_the_answer() {
        let cache = LookUpCache::new(Duration::ZERO);
        let asked = AtomicUsize::new(0);
        let ask = || async {
            let find = async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Lookup::Unknown
            };
            cache.get(&form(), find).await
        };
        let (first, second, third) = tokio::join!(ask(), ask(), ask());
        assert!(matches!(
            (first, second, third),
            (Lookup::Unknown, Lookup::Unknown, Lookup::Unknown)
        ));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        ask().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2, "nothing is remembered");
        assert!(cache.in_flight.lock().is_empty());
    }

    #[tokio::test]
    async fn a_question_given_up_is_asked_again_and_leaves_nothing() {
        let cache = LookUpCache::new(Duration::from_secs(60));
        let form = form();
        {
            let mut never = Box::pin(cache.get(&form, std::future::pending()));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(never.as_mut().poll(&mut context).is_pending());
            assert_eq!(cache.in_flight.lock().len(), 1);
        }
        assert!(cache.in_flight.lock().is_empty());
        let lookup = cache.get(&form, async { Lookup::Ambiguous }).await;
        assert!(matches!(lookup, Lookup::Ambiguous));
        assert!(matches!(cache.known(&form), Some(Lookup::Ambiguous)));
        cache.forget();
        assert!(cache.known(&form).is_none());
    }

    #[tokio::test]
    async fn an_outage_is_not_remembered_nor_an_answer_from_before_forgetting() {
        let cache = LookUpCache::new(Duration::from_secs(60));
        let form = form();
        cache.get(&form, async { Lookup::Unavailable("down".into()) }).await;
        assert!(cache.known(&form).is_none());
        let find = async {
            cache.forget();
            Lookup::Unknown
        };
        cache.get(&form, find).await;
        assert!(cache.known(&form).is_none());
    }
}
