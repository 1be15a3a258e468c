//! Standard input, as one more event source of the poll.
//!
//! A terminal or a pipe goes into the poll. A file cannot (epoll_ctl(2): EPERM), so
//! an offload thread reads it. The descriptor stays blocking, because the shell
//! that started us shares its mode: before each read, poll(2) says whether there is
//! something to read.

use std::io;

use mio::Token;

use super::Reactor;
use super::net::Entry;
use super::readiness::Latch;
use crate::reactor::dispatch::host::Call;
use crate::service::Lane;
use crate::service::ids::{Handle, ServiceId};
use crate::system::{Purpose, Registry, StandardInput, Task};

#[derive(Debug)]
pub(crate) struct Keyboard {
    /// Absent until it is registered.
    input: Option<StandardInput>,
    pub service: ServiceId,
    pub latch: Latch,
    pub paused: bool,
    /// It is a file: an offload thread reads it.
    pub is_file: bool,
    /// That thread is reading.
    pub reading: bool,
}

/// The outcome of a read on an offload thread.
pub(crate) struct FileRead(pub io::Result<Vec<u8>>);

impl Keyboard {
    pub fn new(service: ServiceId) -> Keyboard {
        Keyboard {
            input: None,
            service,
            latch: Latch::default(),
            paused: false,
            is_file: false,
            reading: false,
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let (input, polled) = StandardInput::register(registry, token)?;
        self.input = Some(input);
        self.is_file = !polled;
        Ok(())
    }

    pub fn deregister(&self, registry: &Registry) {
        if let (Some(input), false) = (&self.input, self.is_file) {
            input.deregister(registry);
        }
    }

    /// Reads once if there is something; `None` if not, which clears the latch.
    /// An empty vector is the end.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(input) = &self.input else { return Ok(None) };
        let typed = loop {
            match input.read() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        if typed.is_none() {
            self.latch.drained();
        }
        Ok(typed)
    }
}

impl Reactor {
    pub(crate) fn open_keyboard(&mut self, service: ServiceId) {
        if !self.net.handles(|entry| matches!(entry, Entry::Keyboard(_))).is_empty() {
            // There is only one standard input, and it is open already.
            return self.pause_keyboard(service, false);
        }
        match self.net.insert(Entry::Keyboard(Box::new(Keyboard::new(service)))) {
            Ok(handle) => {
                self.net.enqueue(handle);
            }
            Err(error) => {
                self.failure.get_or_insert(format!("cannot read standard input: {error}"));
                self.ends_now = true;
            }
        }
    }

    pub(crate) fn pause_keyboard(&mut self, service: ServiceId, paused: bool) {
        let is_its =
            |entry: &Entry| matches!(entry, Entry::Keyboard(keyboard) if keyboard.service == service);
        for handle in self.net.handles(is_its) {
            if let Some(Entry::Keyboard(keyboard)) = self.net.get(handle) {
                keyboard.paused = paused;
            }
            self.net.enqueue(handle);
        }
    }

    pub(crate) fn serve_keyboard(&mut self, handle: Handle) {
        let Some(Entry::Keyboard(keyboard)) = self.net.get(handle) else { return };
        let service = keyboard.service;
        if keyboard.paused {
            return;
        }
        if keyboard.is_file {
            if let Some(input) = &keyboard.input
                && !std::mem::replace(&mut keyboard.reading, true)
            {
                let read = input.blocking_read();
                let job = move || Box::new(FileRead(read())) as Box<dyn std::any::Any + Send>;
                let (lane, purpose) = (Lane::Read, Purpose::Service);
                let task = Task { lane, service, connection: None, purpose, job: Box::new(job) };
                self.workers.submit(task);
            }
            return;
        }
        if keyboard.latch.is_readable() {
            match keyboard.read() {
                Ok(None) => {}
                Ok(Some(typed)) => {
                    self.net.enqueue(handle);
                    self.keyboard_was_read(handle, service, Ok(typed));
                }
                Err(error) => self.keyboard_was_read(handle, service, Err(error)),
            }
        }
    }

    pub(crate) fn keyboard_file_was_read(&mut self, service: ServiceId, FileRead(outcome): FileRead) {
        let is_its =
            |entry: &Entry| matches!(entry, Entry::Keyboard(keyboard) if keyboard.service == service);
        let Some(handle) = self.net.handles(is_its).pop() else { return };
        if let Some(Entry::Keyboard(keyboard)) = self.net.get(handle) {
            keyboard.reading = false;
        }
        self.net.enqueue(handle);
        self.keyboard_was_read(handle, service, outcome);
    }

    fn keyboard_was_read(&mut self, handle: Handle, service: ServiceId, outcome: io::Result<Vec<u8>>) {
        match outcome {
            Ok(typed) if !typed.is_empty() => self.call_service(service, Call::Keyboard(Some(&typed))),
            Ok(_) => {
                self.net.remove(handle);
                self.call_service(service, Call::Keyboard(None));
            }
            Err(error) => {
                self.net.remove(handle);
                self.failure.get_or_insert(format!("cannot read standard input: {error}"));
                self.ends_now = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::{Context, Service};
    use crate::system::simulated::{Faults, Nature, World};

    /// Notes what is typed, and that it ended.
    #[derive(Default)]
    struct Typist {
        typed: Vec<u8>,
        ended: bool,
    }

    impl Service for Typist {
        type Session = ();

        fn start(&mut self, cx: &mut Context<'_>) {
            cx.read_keyboard();
        }

        fn keyboard(&mut self, typed: Option<&[u8]>, _: &mut Context<'_>) {
            match typed {
                Some(bytes) => self.typed.extend_from_slice(bytes),
                None => self.ended = true,
            }
        }
    }

    fn typed(world: &World, play: impl FnOnce(&mut dyn FnMut())) -> (String, bool) {
        let mut reactor = Reactor::simulated(world).unwrap();
        let (id, _) = reactor.host("typist", Typist::default()).start().unwrap();
        play(&mut || (0..100).for_each(|_| reactor.turn(Some(Duration::ZERO)).unwrap()));
        let typist = reactor.service_mut::<Typist>(id).unwrap();
        (String::from_utf8(typist.typed.clone()).unwrap(), typist.ended)
    }

    #[test]
    fn what_is_typed_comes_and_so_does_its_end() {
        let world = World::new(Nature::calm());
        let heard = typed(&world, |turns| {
            turns();
            world.type_in("안녕\n".as_bytes());
            turns();
            world.type_in(b"bye");
            world.end_typing();
            turns();
        });
        assert_eq!(heard, ("안녕\nbye".to_owned(), true));
    }

    #[test]
    fn a_signal_in_the_middle_of_a_read_is_not_fatal() {
        let faults = Faults { interrupted: 900, ..Faults::default() };
        let world = World::new(Nature { faults, ..Nature::calm() });
        let heard = typed(&world, |turns| {
            world.type_in(b"still here");
            turns();
        });
        assert_eq!(heard, ("still here".to_owned(), false));
    }

    #[test]
    fn a_file_that_the_poll_refuses_is_read_off_the_loop() {
        let world = World::new(Nature::calm());
        world.redirect_stdin();
        world.type_in(b"one\ntwo\n");
        world.end_typing();
        let heard = typed(&world, |turns| turns());
        assert_eq!(heard, ("one\ntwo\n".to_owned(), true));
    }
}
