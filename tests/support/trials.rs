//! Tests that need something that not every machine has: where it is missing they
//! are reported as ignored, with the reason.

use libtest_mimic::{Completion, Trial};

/// A test that is ignored if there is an `obstacle`.
pub fn trial(
    name: impl Into<String>,
    obstacle: Option<String>,
    test: impl FnOnce() + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || match obstacle {
        Some(why) => Ok(Completion::ignored_with(why)),
        None => {
            test();
            Ok(Completion::Completed)
        }
    })
}
