//! Who is told that code of a plugin is called to load it, or to make a metric of it: such a call may
//! not return, or end the process. Calls that count and answer are known to those who make them.

use std::sync::Arc;

/// Is told of such calls, one after the other.
pub trait CallObserver: Send + Sync {
    /// Code of this plugin is called from now on; a file that is being loaded has its own name.
    fn begins(&self, plugin: &str);

    /// It has returned.
    fn returned(&self);
}

/// A call, until it is dropped.
pub(super) struct ObservedCall(Option<Arc<dyn CallObserver>>);

impl ObservedCall {
    /// Tells the observer, if there is one, that a call begins.
    pub(super) fn begin(observer: Option<&Arc<dyn CallObserver>>, plugin: &str) -> ObservedCall {
        if let Some(observer) = observer {
            observer.begins(plugin);
        }
        ObservedCall(observer.cloned())
    }
}

impl Drop for ObservedCall {
    fn drop(&mut self) {
        if let Some(observer) = &self.0 {
            observer.returned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl CallObserver for Told {
        fn begins(&self, plugin: &str) {
            self.0.lock().expect("nobody panics with it").push(plugin.to_owned());
        }

        fn returned(&self) {
            self.0.lock().expect("nobody panics with it").push("returned".to_owned());
        }
    }

    #[test]
    fn the_end_of_a_call_is_told_however_it_ends() {
        let told = Arc::new(Told::default());
        let observer: Arc<dyn CallObserver> = told.clone();
        drop(ObservedCall::begin(None, "unseen"));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _call = ObservedCall::begin(Some(&observer), "a");
            std::panic::resume_unwind(Box::new(()));
        }));
        let told = told.0.lock().expect("nobody panics with it");
        assert!(panicked.is_err() && *told == ["a", "returned"], "{told:?}");
    }
}
