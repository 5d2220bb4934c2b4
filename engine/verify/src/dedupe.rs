//! Which event ids, and origins of copies, stood within the last offsets of a partition. A plain map
//! and the order in which its entries fall out.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// The window of one partition; at most two entries for each of its offsets.
pub(super) struct Window {
    width: u64,
    last: HashMap<Rc<str>, u64>,
    order: VecDeque<(u64, Rc<str>)>,
}

impl Window {
    /// So many offsets wide; 0 takes nothing for a duplicate.
    pub(super) fn new(width: u64) -> Window {
        Window { width, last: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether an event repeats one before it: by its own id, or as a copy of the same origin.
    pub(super) fn repeats(&mut self, offset: u64, id: Option<&str>, origin: Option<&str>) -> bool {
        // Ids have no control characters. Both stand there from now on, whichever was known.
        let by_origin = origin.is_some_and(|place| self.seen(offset, &format!("\u{1}{place}")));
        id.is_some_and(|id| self.seen(offset, id)) || by_origin
    }

    /// Whether the id stood on an event, counted or duplicate, in the window before `offset`; now
    /// it stands there too. Offsets must not fall.
    fn seen(&mut self, offset: u64, id: &str) -> bool {
        if self.width == 0 {
            return false;
        }
        while let Some((old, id)) = self.order.front()
            && offset - old > self.width
        {
            // Unless it came again since.
            if self.last.get(id) == Some(old) {
                self.last.remove(id);
            }
            self.order.pop_front();
        }
        let id: Rc<str> = id.into();
        self.order.push_back((offset, Rc::clone(&id)));
        self.last.insert(id, offset).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_exactly_the_width_and_each_occurrence_refreshes() {
        let mut window = Window::new(10);
        let seen: Vec<bool> =
            [(0, "a"), (10, "a"), (20, "a"), (21, "b"), (31, "a"), (31, "b"), (42, "b")]
                .map(|(offset, id)| window.seen(offset, id))
                .into();
        assert_eq!(seen, [false, true, true, false, false, true, false]);
        assert!(window.order.len() <= 3, "what fell out is gone");
        assert!(!Window::new(0).seen(0, "a"));
        let mut two = Window::new(10);
        assert!(!two.repeats(0, Some("a"), Some("t/0/1")));
        assert!(two.repeats(1, None, Some("t/0/1")) && two.repeats(2, Some("a"), None));
        assert!(two.repeats(3, Some("b"), Some("t/0/1")) && two.repeats(4, Some("b"), None));
        assert!(!two.repeats(5, Some("t/0/1"), Some("t/0/2")), "an origin is no id");
        assert!(!two.repeats(99, None, Some("t/0/1")) && !two.repeats(99, None, None));
        let mut none = Window::new(0);
        assert!(!none.seen(1, "a") && !none.seen(2, "a"));
    }
}
