//! stub
use super::run::Run;
use onepoll::service::Service;
pub const HEADER: usize = 22;
pub struct Chat {
    _run: Run,
}
impl Chat {
    pub fn new(run: Run, _: usize, _: usize, _: bool) -> Chat {
        Chat { _run: run }
    }
}
impl Service for Chat {
    type Session = ();
}
