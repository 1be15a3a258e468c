//! upload: takes a file from the course's uploaders, who send its name and then its
//! contents.

use super::transfers::{SILENCE, SILENT, Transfer, Way, drop_off_the_loop};
use crate::config::{Description, Plan, Settings, files};
use crate::files::receiving::{Done, Progress, Receiving};
use crate::files::{Name, Root, clean};
use crate::service::{Answer, CloseReason, Context, Farewell, Input, Lane, Service};
use crate::wire::files::together::{First, separate};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "upload",
    about: "takes a name, then the contents of a file",
    notes: "",
    tcp: Some(2601),
    udp: None,
    keys: &[files::ROOT, files::WRITABLE, files::MAX_FILE_SIZE, files::MAX_TOTAL_SIZE, files::MAX_FILES],
    plan,
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let root = files::root(settings, &files::WRITABLE);
    let stores_in = root.stores_in();
    Plan { stores_in, ..settings.listen(Upload { name: settings.name.to_owned(), root }) }
}

const READY: &[u8] = b"I am ready";
const INSEPARABLE: &str = "its name and its contents came together, and no known extension shows where the \
                           name ends: TCP is a stream of bytes, so wait between the two";
const NO_CONTENTS: &str = "no contents came: they may have come together with the name, since TCP is a \
                           stream of bytes";

/// The upload service.
#[derive(Debug)]
pub struct Upload {
    /// What the log calls it.
    name: String,
    root: Root,
}

/// One connection of the upload service.
#[derive(Debug, Default)]
pub enum UploadSession {
    /// Nothing has come yet.
    #[default]
    New,
    /// The name has come by itself.
    Named(Named),
    /// Contents come in.
    Receiving(Box<Taken>),
    /// The file is stored or refused.
    Over,
}

/// A file whose contents are to come.
#[derive(Debug)]
pub struct Named {
    transfer: Transfer,
    name: Name,
}

/// A file on its way in.
#[derive(Debug)]
pub struct Taken {
    transfer: Transfer,
    receiving: Receiving,
    has_ended: bool,
}

impl Upload {
    /// Takes the name, and what came with it.
    fn begin(&self, session: &mut UploadSession, first: &[u8], cx: &mut Context<'_>) {
        *session = UploadSession::Over;
        let (name, contents, guess) = match separate(first) {
            First::Name(name) => (name, None, None),
            First::Both { name, contents, guess } => (name, Some(contents), Some(guess)),
            First::Inseparable => {
                Transfer::begin(first, cx).refused(INSEPARABLE, cx);
                return cx.close();
            }
        };
        let mut transfer = Transfer::begin(name, cx);
        if let Some(guess) = guess {
            transfer.note(format_args!("the name was cut from the contents by guess: {guess}"));
        }
        match clean(name) {
            Ok(name) => *session = UploadSession::Named(Named { transfer, name }),
            Err(why) => {
                transfer.refused(&why.to_string(), cx);
                return cx.close();
            }
        }
        if let Some(contents) = contents {
            self.take(session, contents, cx);
        }
    }

    fn take(&self, session: &mut UploadSession, contents: &[u8], cx: &mut Context<'_>) {
        if let UploadSession::Named(_) = session
            && let UploadSession::Named(Named { transfer, name }) = std::mem::take(session)
        {
            let (receiving, job) = Receiving::begin(&self.root, name, None);
            cx.offload(Lane::Write, move || job.run());
            cx.set_deadline_after(SILENCE);
            *session = UploadSession::Receiving(Box::new(Taken { transfer, receiving, has_ended: false }));
        }
        if let UploadSession::Receiving(taken) = session {
            taken.receiving.take(contents);
            cx.holds(contents.len());
            taken.go_on(cx);
        }
    }

    fn went_on(&self, session: &mut UploadSession, done: Done, cx: &mut Context<'_>) {
        let UploadSession::Receiving(taken) = session else {
            return cx.offload(Lane::Write, move || drop(done));
        };
        match taken.receiving.done(done) {
            Ok(Progress::Goes) => {
                taken.go_on(cx);
                if !taken.receiving.is_full() {
                    cx.resume();
                }
                return;
            }
            Ok(Progress::Stored(stored)) => {
                taken.transfer.stored_as(stored.name.as_str());
                taken.transfer.complete(&self.name, Way::In, stored.size, cx.now());
            }
            Err(error) => taken.log_end(&self.name, &error.to_string(), cx),
        }
        *session = UploadSession::Over;
        cx.close();
    }
}

impl Taken {
    fn go_on(&mut self, cx: &mut Context<'_>) {
        if let Some(job) = self.receiving.next_job() {
            cx.offload(Lane::Write, move || job.run());
        }
        if self.receiving.is_full() {
            cx.pause();
        }
    }

    fn log_end(&self, service: &str, why: &str, cx: &Context<'_>) {
        self.transfer.broken(service, Way::In, (self.receiving.received(), None), why, cx.now());
    }

    /// Gives up, and has what was begun removed.
    fn abandon(self, service: &str, why: &str, cx: &mut Context<'_>) {
        self.log_end(service, why, cx);
        if let Some(incoming) = self.receiving.abandon() {
            cx.offload(Lane::Write, move || drop(incoming));
        }
    }
}

impl Service for Upload {
    type Session = UploadSession;

    fn start(&mut self, cx: &mut Context<'_>) {
        let root = self.root.clone();
        // If it fails, the log has said why, and the first client finds out again.
        cx.offload(Lane::Read, move || drop(root.prepare()));
    }

    fn open(&mut self, _: &mut UploadSession, cx: &mut Context<'_>) {
        cx.send(READY);
    }

    fn receive(&mut self, session: &mut UploadSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        let came = input.unread();
        input.consume_all();
        match session {
            UploadSession::New if !came.is_empty() => self.begin(session, came, cx),
            UploadSession::Named(_) | UploadSession::Receiving(_) if !came.is_empty() => {
                self.take(session, came, cx);
            }
            _ => {}
        }
    }

    fn end_of_input(&mut self, session: &mut UploadSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.receive(session, input, cx);
        match session {
            UploadSession::New => cx.close(),
            UploadSession::Named(named) => {
                named.transfer.refused(NO_CONTENTS, cx);
                *session = UploadSession::Over;
                cx.close();
            }
            UploadSession::Receiving(taken) => {
                taken.has_ended = true;
                taken.receiving.end(None);
                taken.go_on(cx);
            }
            UploadSession::Over => {}
        }
    }

    fn timeout(&mut self, session: &mut UploadSession, _: &mut Input<'_>, cx: &mut Context<'_>) {
        let UploadSession::Receiving(taken) = session else { return };
        if !taken.receiving.is_silent() {
            return cx.set_deadline_after(SILENCE);
        }
        if let UploadSession::Receiving(taken) = std::mem::replace(session, UploadSession::Over) {
            taken.abandon(&self.name, SILENT, cx);
            cx.close();
        }
    }

    fn finished(&mut self, session: Option<&mut UploadSession>, answer: Answer, cx: &mut Context<'_>) {
        let Some(session) = session else { return drop_off_the_loop(answer, cx) };
        match answer.result.map(|result| result.downcast::<Done>()) {
            Ok(Ok(done)) => self.went_on(session, *done, cx),
            Ok(Err(_)) => {}
            Err(error) => {
                if let UploadSession::Receiving(taken) = session {
                    taken.log_end(&self.name, &error.to_string(), cx);
                }
                *session = UploadSession::Over;
                cx.close();
            }
        }
    }

    fn closed(&mut self, session: UploadSession, why: &CloseReason, cx: &mut Context<'_>) {
        match session {
            UploadSession::Receiving(taken) => taken.abandon(&self.name, &why.to_string(), cx),
            UploadSession::Named(named) => named.transfer.refused(&why.to_string(), cx),
            UploadSession::New | UploadSession::Over => {}
        }
    }

    fn footprint(&self, session: &UploadSession) -> usize {
        match session {
            UploadSession::Receiving(taken) => taken.receiving.memory(),
            _ => 0,
        }
    }

    /// Words in place of the server's first ones; the course's clients print what they
    /// receive.
    fn farewell(&self, why: Farewell) -> String {
        why.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, simulated};
    use crate::files::{Policy, Roots};
    use crate::rehearsal::{Client, Rehearsal};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    struct Scene {
        disk: simulated::Disk,
        stage: Rehearsal<Upload>,
    }

    impl Scene {
        fn with(policy: Policy) -> Scene {
            let disk = simulated::Disk::new(1);
            let kernel = Disk::Simulated(disk.clone());
            kernel.create(Path::new("files")).unwrap();
            let root = Roots::on(kernel).root(Path::new("files"), policy);
            Scene { disk, stage: Rehearsal::new(Upload { name: "upload".into(), root }) }
        }

        /// Sends these pieces, one read each, and half-closes.
        fn upload(&mut self, pieces: &[&[u8]]) -> Client {
            let client = self.stage.connect();
            pieces.iter().for_each(|piece| self.stage.send(client, piece));
            self.stage.half_close(client);
            client
        }

        fn files(&self) -> BTreeMap<String, Vec<u8>> {
            self.disk.contents(Path::new("files"))
        }
    }

    fn stored(pieces: &[&[u8]]) -> BTreeMap<String, Vec<u8>> {
        let mut scene = Scene::with(Policy::default());
        let client = scene.upload(pieces);
        assert_eq!(scene.stage.received(client), READY);
        assert!(scene.stage.is_closed(client));
        scene.files()
    }

    fn one(name: &str, contents: &[u8]) -> BTreeMap<String, Vec<u8>> {
        [(name.to_owned(), contents.to_vec())].into()
    }

    #[test]
    fn a_name_that_comes_by_itself_is_taken_as_it_is() {
        assert_eq!(stored(&[b"README", b"hello ", b"world"]), one("README", b"hello world"));
        assert_eq!(stored(&[b"C:\\tmp\\photo.png", b"no picture"]), one("photo.png", b"no picture"));
        assert_eq!(stored(&["과제 1.hwp\n".as_bytes(), b"x"]), one("과제 1.hwp", b"x"));
    }

    #[test]
    fn a_name_and_contents_that_come_together_are_separated() {
        assert_eq!(stored(&[b"a.txthello", b" world"]), one("a.txt", b"hello world"));
        let read = [b"/home/kim/a.png".as_slice(), b"\x89PNG\r\n\x1A\n..."].concat();
        assert_eq!(stored(&[&read]), one("a.png", b"\x89PNG\r\n\x1A\n..."));
    }

    #[test]
    fn what_cannot_be_separated_and_what_has_no_contents_is_refused() {
        for pieces in [
            &[b"README\nhello".as_slice()] as &[&[u8]],
            &[b"photo.png\0\0\0"],
            &[b"a.txt"],
            &[b"READMEhello"],
            &[b".hidden", b"x"],
            &[b"con.txt", b"x"],
            &[],
        ] {
            assert_eq!(stored(pieces), BTreeMap::new(), "{pieces:?}");
        }
    }

    #[test]
    fn nothing_is_stored_where_it_may_not_be() {
        for policy in [
            Policy { writable: false, ..Policy::default() },
            Policy { max_file_size: 4, ..Policy::default() },
            Policy { max_total_size: 4, ..Policy::default() },
            Policy { max_files: 0, ..Policy::default() },
        ] {
            let mut scene = Scene::with(policy);
            let client = scene.upload(&[b"a.txt", b"hello"]);
            assert!(scene.stage.is_closed(client));
            assert_eq!(scene.files(), BTreeMap::new(), "{policy:?}");
        }
    }

    #[test]
    fn a_client_that_vanishes_leaves_nothing() {
        let mut scene = Scene::with(Policy::default());
        let client = scene.stage.connect();
        scene.stage.send(client, b"a.txt");
        scene.stage.send(client, &[b'x'; 100_000]);
        assert_eq!(scene.files().len(), 1);
        scene.stage.stop_reading(client);
        scene.stage.reset(client);
        scene.stage.pass(Duration::from_secs(1));
        assert_eq!(scene.files(), BTreeMap::new());
    }

    #[test]
    fn an_upload_of_which_nothing_comes_is_given_up() {
        let mut scene = Scene::with(Policy::default());
        let client = scene.stage.connect();
        scene.stage.send(client, b"a.txt");
        scene.stage.send(client, b"hello");
        for _ in 0..5 {
            scene.stage.pass(Duration::from_secs(59));
            scene.stage.send(client, b"x");
        }
        assert_eq!(scene.files().len(), 1);
        scene.stage.pass(2 * SILENCE);
        assert!(scene.stage.is_closed(client));
        assert_eq!(scene.files(), BTreeMap::new());
    }

    #[test]
    fn a_disk_that_fails_at_any_moment_leaves_nothing_half_written() {
        let contents = vec![b'x'; 300_000];
        let mut whole = 0;
        for change in 0..20 {
            let mut scene = Scene::with(Policy::default());
            scene.disk.fail_once(change);
            let client = scene.upload(&[b"a.txt", &contents]);
            assert!(scene.stage.is_closed(client));
            match scene.files().get("a.txt") {
                Some(stored) => {
                    assert!(*stored == contents);
                    whole += 1;
                }
                None => assert!(scene.files().keys().all(|name| name.starts_with('.'))),
            }
        }
        assert!((1..20).contains(&whole), "{whole} were stored");
    }

    proptest! {
        #[test]
        fn contents_arrive_as_they_are_in_any_pieces(
            contents in prop::collection::vec(any::<u8>(), 1..400),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut pieces = crate::rehearsal::splits(&contents, &cuts);
            pieces.insert(0, b"a.bin");
            prop_assert_eq!(stored(&pieces), one("a.bin", &contents));
        }
    }
}
