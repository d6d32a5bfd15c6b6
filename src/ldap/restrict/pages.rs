//! How many entries have gone out in the pages of searches (RFC 2696), so that a limit holds over all of them.

use std::collections::VecDeque;

/// The paged searches of one connection.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Pages that are under way: their messageID, and the entries of this search that have gone out.
    under_way: VecDeque<(i32, usize)>,
    /// Cookies that lead to the next page, and the entries before it.
    cookies: VecDeque<(Vec<u8>, usize)>,
}

impl Pages {
    /// The entries that went out before the page that `cookie` leads to; `None` for a cookie that the server
    /// has not given out on this connection.
    pub(super) fn before(&mut self, cookie: &[u8]) -> Option<usize> {
        let place = self.cookies.iter().position(|(known, _)| known == cookie)?;
        self.cookies.remove(place).map(|(_, before)| before)
    }

    /// A page was asked for.
    pub(super) fn begin(&mut self, id: i32, before: usize) {
        push(&mut self.under_way, (id, before), MOST_UNDER_WAY);
    }

    /// An entry goes out.
    pub(super) fn count(&mut self, id: i32) {
        if let Some((_, count)) = self.under_way.iter_mut().find(|(known, _)| *known == id) {
            *count += 1;
        }
    }

    /// Whether a page with this messageID is under way.
    pub(super) fn is_under_way(&self, id: i32) -> bool {
        self.under_way.iter().any(|(known, _)| *known == id)
    }

    /// The page has ended; `cookie` leads to the next.
    pub(super) fn end(&mut self, id: i32, cookie: Option<&[u8]>) {
        let Some(place) = self.under_way.iter().position(|(known, _)| *known == id) else {
            return;
        };
        let Some((_, sent)) = self.under_way.remove(place) else {
            return;
        };
        if let Some(cookie) = cookie.filter(|cookie| !cookie.is_empty()) {
            // Cookies may name a place in the directory and no search: the larger count holds.
            let earlier = self.before(cookie).unwrap_or_default();
            push(&mut self.cookies, (cookie.to_vec(), sent.max(earlier)), MOST_COOKIES);
        }
    }
}

/// What falls out at the other end is not known any more, and its cookie refused.
fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// Searches that may be in the middle at once.
const MOST_COOKIES: usize = 32;
/// Pages that may be on their way at once.
const MOST_UNDER_WAY: usize = 64;
