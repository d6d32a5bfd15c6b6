//! The store and the collectors of the audit, as they were when somebody looked.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    store_up: Gauge,
    store_queue: Gauge,
    store_size: Gauge,
    audit_records: Counter,
    stream_up: Family<OfStream, Gauge>,
    stream_waiting: Family<OfStream, Gauge>,
    stream_sent: Family<OfStream, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStream {
    stream: String,
}

impl Health {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("store_up", "Whether the store takes writes", self.store_up.clone());
        registry.register(
            "store_queue",
            "Batches waiting to be made durable",
            self.store_queue.clone(),
        );
        registry.register(
            "store_size_bytes",
            "Octets of the store on disk",
            self.store_size.clone(),
        );
        registry.register("audit_records", "Records in the audit", self.audit_records.clone());
        registry.register(
            "audit_stream_up",
            "Whether a collector takes the audit",
            self.stream_up.clone(),
        );
        registry.register(
            "audit_stream_waiting",
            "Records that a collector has not certainly read",
            self.stream_waiting.clone(),
        );
        registry.register(
            "audit_stream_sent",
            "Records sent to a collector, again ones among them",
            self.stream_sent.clone(),
        );
    }

    /// Forgets all streams: those that are configured no more are not told of.
    pub(super) fn clear(&self) {
        self.stream_up.clear();
        self.stream_waiting.clear();
        self.stream_sent.clear();
    }

    pub(super) fn store(&self, queue: usize, size: u64, audit_records: u64, failing: bool) {
        self.store_up.set((!failing).into());
        self.store_queue.set(i64::try_from(queue).unwrap_or(i64::MAX));
        self.store_size.set(i64::try_from(size).unwrap_or(i64::MAX));
        self.audit_records.inner().store(audit_records, Ordering::Relaxed);
    }

    pub(super) fn stream(&self, name: &str, sent: u64, waiting: u64, failing: bool) {
        let of = OfStream {
            stream: name.to_owned(),
        };
        self.stream_up.get_or_create(&of).set((!failing).into());
        self.stream_waiting
            .get_or_create(&of)
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.stream_sent
            .get_or_create(&of)
            .inner()
            .store(sent, Ordering::Relaxed);
    }
}
