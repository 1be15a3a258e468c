//! Jobs off the loop, and pauses, in a world in which nothing else goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::scene::{A_FEW, Scene, hear};
use crate::service::{Answer, CloseReason, Context, Input, Lane, Limits, Service};
use crate::system::simulated::Nature;

const SECOND: Duration = Duration::from_secs(1);

/// Jobs that ran, and jobs that are gone, whether or not they ran.
#[derive(Debug, Clone, Default)]
struct Counters {
    ran: Arc<AtomicUsize>,
    gone: Arc<AtomicUsize>,
}

/// What a job has captured.
struct Captured(Counters);

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.gone.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counters {
    fn job(&self) -> impl FnOnce() + Send + 'static {
        let captured = Captured(self.clone());
        move || {
            captured.0.ran.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many ran, and how many are gone.
    fn counts(&self) -> (usize, usize) {
        (self.ran.load(Ordering::Relaxed), self.gone.load(Ordering::Relaxed))
    }
}

/// Does what its input says, and notes what happens.
#[derive(Default)]
struct Desk {
    notes: Vec<String>,
    jobs: Counters,
    /// The lane of its jobs.
    lane: Option<Lane>,
    /// It has something to do when a connection has ended.
    tidies_up: bool,
    is_shown: usize,
}

impl Desk {
    fn on(lane: Lane) -> Desk {
        Desk { lane: Some(lane), ..Desk::default() }
    }

    fn offload(&self, cx: &mut Context<'_>) {
        cx.offload(self.lane.unwrap_or(Lane::Read), self.jobs.job());
    }
}

impl Service for Desk {
    /// Whether a pause has been told of.
    type Session = bool;

    fn receive(&mut self, was_paused: &mut bool, input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.is_shown += 1;
        let words = String::from_utf8_lossy(input.unread()).into_owned();
        self.notes.push(words.clone());
        match words.as_str() {
            // What was left unread is shown again after the pause.
            "wait" | "pause" if !std::mem::replace(was_paused, true) => {
                cx.pause();
                if words == "wait" {
                    self.offload(cx);
                }
            }
            "stop" => {
                cx.pause();
                cx.set_deadline_after(5 * SECOND);
            }
            "resume" => cx.resume(),
            "job" => {
                input.consume_all();
                self.offload(cx);
            }
            _ => {
                input.consume_all();
            }
        }
    }

    fn end_of_input(&mut self, _: &mut bool, _: &mut Input<'_>, cx: &mut Context<'_>) {
        self.notes.push("the end".to_owned());
        cx.close();
    }

    fn timeout(&mut self, _: &mut bool, input: &mut Input<'_>, _: &mut Context<'_>) {
        self.notes.push(format!("late: {}", String::from_utf8_lossy(input.unread())));
        input.consume_all();
    }

    fn finished(&mut self, session: Option<&mut bool>, answer: Answer, cx: &mut Context<'_>) {
        assert!(answer.result.is_ok());
        assert_eq!(cx.connection(), answer.connection.filter(|_| session.is_some()));
        match (session, answer.connection) {
            (Some(_), Some(_)) => {
                cx.send(b"done ");
                cx.resume();
                self.notes.push("done".to_owned());
            }
            (None, Some(_)) => self.notes.push("done for nobody".to_owned()),
            (_, None) => self.notes.push("done for the service".to_owned()),
        }
    }

    fn closed(&mut self, _: bool, why: &CloseReason, cx: &mut Context<'_>) {
        self.notes.push(why.to_string());
        if self.tidies_up {
            self.offload(cx);
        }
    }
}

fn patient() -> Limits {
    Limits { idle_timeout: None, ..Limits::default() }
}

fn notes(scene: &mut Scene) -> Vec<String> {
    std::mem::take(&mut scene.service::<Desk>().notes)
}

#[test]
fn a_paused_connection_is_left_unread_until_it_is_resumed_and_shown_what_it_had_left() {
    let mut scene = Scene::of(Desk::default(), patient());
    let client = scene.call(40_000);
    scene.world.hold_jobs(true);
    scene.say(&client, b"wait");
    scene.say(&client, b", more");
    scene.pass(3600 * SECOND);
    assert_eq!(notes(&mut scene), ["wait"]);
    scene.world.hold_jobs(false);
    scene.turns(A_FEW);
    assert_eq!(notes(&mut scene), ["done", "wait", ", more"]);
    assert_eq!(hear(&client), (b"done ".to_vec(), false));
}

#[test]
fn a_paused_connection_is_not_idle_but_its_deadline_holds() {
    let limits = Limits { idle_timeout: Some(3 * SECOND), ..Limits::default() };
    let mut scene = Scene::of(Desk::default(), limits);
    let client = scene.call(40_000);
    scene.say(&client, b"stop");
    scene.pass(4 * SECOND);
    assert_eq!(notes(&mut scene), ["stop"]);
    scene.pass(2 * SECOND);
    assert_eq!(notes(&mut scene), ["late: stop"]);
    assert!(!hear(&client).1, "it is paused still");
}

#[test]
fn a_reset_of_a_paused_connection_is_noticed() {
    for comes_with_the_words in [false, true] {
        let mut scene = Scene::of(Desk::default(), patient());
        let client = scene.call(40_000);
        if comes_with_the_words {
            client.write(&[std::io::IoSlice::new(b"pause")]).unwrap();
        } else {
            scene.say(&client, b"pause");
            scene.say(&client, b"unread");
        }
        client.reset_on_close();
        drop(client);
        scene.turns(A_FEW);
        assert_eq!(notes(&mut scene), ["pause", "reset by the peer"], "{comes_with_the_words}");
    }
}

#[test]
fn a_half_close_of_a_paused_connection_comes_after_what_was_sent_before_it() {
    let mut scene = Scene::of(Desk::default(), patient());
    let client = scene.call(40_000);
    scene.world.hold_jobs(true);
    scene.say(&client, b"wait");
    scene.say(&client, b", more");
    client.half_close().unwrap();
    scene.turns(A_FEW);
    assert_eq!(notes(&mut scene), ["wait"]);
    scene.world.hold_jobs(false);
    scene.turns(A_FEW);
    assert_eq!(notes(&mut scene)[..4], ["done", "wait", ", more", "the end"]);
}

#[test]
fn resuming_what_is_not_paused_does_nothing() {
    let mut scene = Scene::of(Desk::default(), patient());
    let client = scene.call(40_000);
    scene.say(&client, b"resume");
    scene.turns(100);
    assert_eq!(scene.service::<Desk>().is_shown, 1);
}

#[test]
fn a_job_whose_connection_has_ended_is_dropped_before_it_begins() {
    for tidies_up in [false, true] {
        let mut scene = Scene::of(Desk { tidies_up, ..Desk::default() }, patient());
        let client = scene.call(40_000);
        scene.world.hold_jobs(true);
        scene.say(&client, b"job");
        drop(client);
        scene.turns(A_FEW);
        let jobs = scene.service::<Desk>().jobs.clone();
        assert_eq!(jobs.counts(), (0, 0), "it is dropped where it would have run");
        scene.world.hold_jobs(false);
        scene.turns(A_FEW);
        let its_own = usize::from(tidies_up);
        assert_eq!(jobs.counts(), (its_own, 1 + its_own), "a job of `closed` is the service's own");
        let mut expected = vec!["job", "the end", "closed by the peer"];
        expected.extend(tidies_up.then_some("done for the service"));
        assert_eq!(notes(&mut scene), expected);
    }
}

#[test]
fn a_job_that_has_begun_comes_back_without_a_session() {
    let mut scene = Scene::within(Nature { delay: 1_000_000, ..Nature::calm() }, Desk::default(), patient());
    let client = scene.call(40_000);
    scene.say(&client, b"job");
    let jobs = scene.service::<Desk>().jobs.clone();
    for _ in 0..1000 {
        if jobs.counts().0 > 0 {
            break;
        }
        scene.reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
    assert_eq!(jobs.counts(), (1, 1));
    client.reset_on_close();
    drop(client);
    scene.pass(2 * SECOND);
    assert_eq!(notes(&mut scene), ["job", "reset by the peer", "done for nobody"]);
}

#[test]
fn a_drain_waits_for_what_is_being_written_although_nobody_is_connected() {
    for lane in Lane::ALL {
        let service = Desk { tidies_up: true, ..Desk::on(lane) };
        let limits = Limits { drain_timeout: Some(5 * SECOND), ..patient() };
        let mut scene = Scene::of(service, limits);
        drop(scene.call(40_000));
        scene.world.hold_jobs(true);
        scene.turns(A_FEW);
        let took = scene.drain(6 * SECOND);
        match lane {
            Lane::Write => assert!(took >= 5 * SECOND, "the job never ends: {took:?}"),
            _ => assert!(took < SECOND, "{lane:?}: {took:?}"),
        }
    }
}

#[test]
fn a_drain_ends_once_everything_is_written() {
    let mut scene = Scene::of(Desk { tidies_up: true, ..Desk::on(Lane::Write) }, patient());
    drop(scene.call(40_000));
    scene.world.hold_jobs(true);
    scene.turns(A_FEW);
    scene.reactor.drain();
    scene.pass(2 * SECOND);
    assert!(!scene.reactor.has_ended());
    scene.world.hold_jobs(false);
    assert!(scene.drain_on(SECOND) < SECOND / 2);
    assert_eq!(scene.service::<Desk>().jobs.counts(), (1, 1));
}
