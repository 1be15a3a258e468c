//! Services side by side: messages, jobs on other threads, ticks, deadlines and
//! pauses, and services that come and go between turns.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use onepoll::reactor::{ConnectionId, Reactor, ServiceReport, Statistics};
use onepoll::service::{Answer, Context, Input, Lane, Message, OffloadError, Service};
use support::{PATIENCE, Running, connect, read_exactly, read_to_end};

fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn host<S: Service + 'static>(reactor: &mut Reactor, name: &str, service: S) -> SocketAddr {
    reactor.host(name, service).tcp(localhost()).start().unwrap().1[0].address
}

/// Passes what it receives to the service "back", and passes the reply to the
/// asker.
struct Front;

/// Answers a message with another.
struct Back;

struct Question {
    from: ConnectionId,
    text: Vec<u8>,
}

struct Reply {
    to: ConnectionId,
    text: Vec<u8>,
}

impl Service for Front {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let text = input.unread().to_vec();
        input.consume_all();
        let from = cx.connection().unwrap();
        cx.post("back", Box::new(Question { from, text }));
        cx.post("nobody", Box::new(()));
    }

    fn message(&mut self, message: Message, cx: &mut Context<'_>) {
        let reply = message.downcast::<Reply>().unwrap();
        cx.tell(reply.to, &reply.text);
    }
}

impl Service for Back {
    type Session = ();

    fn message(&mut self, message: Message, cx: &mut Context<'_>) {
        let question = message.downcast::<Question>().unwrap();
        let text = [b"re: ", question.text.as_slice()].concat();
        cx.post("front", Box::new(Reply { to: question.from, text }));
    }
}

#[test]
fn services_meet_through_messages() {
    let running = Running::start(|reactor| {
        reactor.host("back", Back).start().unwrap();
        host(reactor, "front", Front)
    });
    let clients: Vec<TcpStream> = (0..10).map(|_| connect(running.made)).collect();
    for (number, client) in clients.iter().enumerate() {
        (&mut &*client).write_all(format!("질문 {number}").as_bytes()).unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        let expected = format!("re: 질문 {number}");
        assert_eq!(read_exactly(client, expected.len()), expected.as_bytes());
    }
}

/// Does on another thread what it is told.
struct Worker;

impl Service for Worker {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let job = input.unread().to_vec();
        input.consume_all();
        match job.as_slice() {
            b"panic" => cx.offload(Lane::Hash, || -> String { panic!("in the job") }),
            b"many" => {
                for number in 0..5000u32 {
                    cx.offload(Lane::Hash, move || {
                        std::thread::sleep(Duration::from_micros(100));
                        number.to_string()
                    });
                }
            }
            _ => cx.offload(Lane::Hash, move || String::from_utf8_lossy(&job).to_uppercase()),
        }
    }

    fn finished(&mut self, _: Option<&mut Self::Session>, answer: Answer, cx: &mut Context<'_>) {
        let text = match answer.result {
            Ok(result) => *result.downcast::<String>().unwrap() + "\n",
            Err(OffloadError::QueueFull) => "full\n".to_owned(),
            Err(error) => format!("{error}\n"),
        };
        cx.tell(answer.connection.unwrap(), text.as_bytes());
    }
}

#[test]
fn a_job_runs_on_another_thread_and_its_answer_comes_back() {
    std::panic::set_hook(Box::new(|_| {}));
    let running = Running::start(|reactor| host(reactor, "worker", Worker));
    let client = connect(running.made);
    (&client).write_all("straße".as_bytes()).unwrap();
    assert_eq!(support::read_line(&client), "STRASSE\n");
    (&client).write_all(b"panic").unwrap();
    assert_eq!(support::read_line(&client), "the job failed inside\n");
    (&client).write_all(b"again").unwrap();
    assert_eq!(support::read_line(&client), "AGAIN\n");
}

#[test]
fn jobs_over_the_queues_bound_are_refused_and_each_is_answered_once() {
    let running = Running::start(|reactor| host(reactor, "worker", Worker));
    let client = connect(running.made);
    (&client).write_all(b"many").unwrap();
    let answers: Vec<String> = (0..5000).map(|_| support::read_line(&client)).collect();
    let full = answers.iter().filter(|answer| *answer == "full\n").count();
    assert!((1..5000).contains(&full), "{full} refused");
    let mut done: Vec<&String> = answers.iter().filter(|answer| *answer != "full\n").collect();
    done.sort();
    done.dedup();
    assert_eq!(done.len() + full, 5000);
}

/// Ticks at an interval and reports when.
struct Clock {
    every: Duration,
    next: Option<Instant>,
    report: Sender<(Instant, Instant)>,
}

impl Service for Clock {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        // Only the last tick set counts.
        cx.set_tick(cx.now() + Duration::from_secs(3600));
        self.next = Some(cx.now() + self.every);
        cx.set_tick(cx.now() + self.every);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let due = self.next.unwrap();
        let _ = self.report.send((due, Instant::now()));
        self.next = Some(due + self.every);
        cx.set_tick(due + self.every);
    }
}

#[test]
fn a_tick_comes_at_its_time_and_never_before() {
    let (report, ticks) = mpsc::channel();
    let every = Duration::from_micros(7300);
    let _running = Running::start(move |reactor| {
        reactor.host("clock", Clock { every, next: None, report }).start().unwrap();
    });
    for _ in 0..20 {
        let (due, came) = ticks.recv_timeout(PATIENCE).unwrap();
        assert!(came >= due, "{:?} early", due - came);
    }
}

/// Answers late: at its deadline, or after a pause with what came meanwhile.
#[derive(Default)]
struct Slow {
    paused: bool,
}

impl Service for Slow {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        match input.unread() {
            b"later" => cx.set_deadline_after(Duration::from_millis(30)),
            b"never" => {
                cx.set_deadline_after(Duration::from_millis(30));
                cx.clear_deadline();
                input.consume_all();
                cx.send(b"ok");
            }
            b"pause" if !self.paused => {
                self.paused = true;
                cx.pause_until(cx.now() + Duration::from_millis(50));
            }
            _ => {
                cx.send_input(input.consume_all());
            }
        }
    }

    fn timeout(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.send(b"at last ");
        cx.send_input(input.consume_all());
    }
}

#[test]
fn a_deadline_shows_what_was_left_unread_and_can_be_taken_back() {
    let running = Running::start(|reactor| host(reactor, "slow", Slow::default()));
    let client = connect(running.made);
    (&client).write_all(b"later").unwrap();
    assert_eq!(read_exactly(&client, 13), b"at last later");
    (&client).write_all(b"never").unwrap();
    assert_eq!(read_exactly(&client, 2), b"ok");
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let more = (&client).read(&mut [0; 20]).map_err(|error| error.kind());
    assert_eq!(more, Err(ErrorKind::WouldBlock));
}

#[test]
fn a_paused_connection_is_left_unread_and_shown_again_by_itself() {
    let running = Running::start(|reactor| host(reactor, "slow", Slow::default()));
    let client = connect(running.made);
    let asked = Instant::now();
    (&client).write_all(b"pause").unwrap();
    // Nothing more is sent: the unread input is shown when the pause ends.
    assert_eq!(read_exactly(&client, 5), b"pause");
    assert!(asked.elapsed() >= Duration::from_millis(50));
}

struct Echo;

impl Service for Echo {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.send_input(input.consume_all());
    }
}

#[test]
fn a_service_can_be_added_and_removed_between_turns() {
    let mut reactor = Reactor::new().unwrap();
    let turn = |reactor: &mut Reactor| reactor.turn(Some(Duration::from_millis(10))).unwrap();
    let (first, bound) = reactor.host("first", Echo).tcp(localhost()).start().unwrap();
    let client = connect(bound[0].address);
    (&client).write_all(b"one").unwrap();
    for _ in 0..10 {
        turn(&mut reactor);
    }
    assert_eq!(read_exactly(&client, 3), b"one");
    let (_, second) = reactor.host("second", Echo).tcp(localhost()).start().unwrap();
    reactor.remove(first);
    assert_eq!(read_to_end(&client), b"");
    assert!(TcpStream::connect(bound[0].address).is_err());
    let other = connect(second[0].address);
    (&other).write_all(b"two").unwrap();
    for _ in 0..10 {
        turn(&mut reactor);
    }
    assert_eq!(read_exactly(&other, 3), b"two");
    assert_eq!(reactor.statistics().connections, 1);
}

/// Answers each message with a line about the first service, from its report.
#[derive(Default)]
struct Overview {
    asked_by: Option<ConnectionId>,
}

impl Service for Overview {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        input.consume_all();
        self.asked_by = cx.connection();
        cx.ask_for_reports();
    }

    fn message(&mut self, message: Message, cx: &mut Context<'_>) {
        let reports = message.downcast::<Vec<ServiceReport>>().unwrap();
        let ServiceReport { name, addresses, statistics, .. } = &reports[0];
        let Statistics { connections, accepted, bytes_received, bytes_sent, .. } = statistics;
        let sockets = addresses.len();
        let line =
            format!("{name} {sockets} {connections} of {accepted}, {bytes_received} in, {bytes_sent} out\n");
        cx.tell(self.asked_by.unwrap(), line.as_bytes());
    }
}

#[test]
fn a_report_counts_what_open_and_ended_connections_of_each_service_moved() {
    let running = Running::start(|reactor| {
        let echo = host(reactor, "echo", Echo);
        (echo, host(reactor, "overview", Overview::default()))
    });
    let (echo, overview) = running.made;
    let open = connect(echo);
    (&open).write_all("안녕".as_bytes()).unwrap();
    assert_eq!(read_exactly(&open, 6), "안녕".as_bytes());
    let mut ended = connect(echo);
    ended.write_all(b"bye").unwrap();
    ended.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&ended), b"bye");
    drop(ended);
    let curious = connect(overview);
    let expected = "echo 1 1 of 2, 9 in, 9 out\n";
    // The end of the other connection may not have been noticed yet.
    for asked in 1.. {
        (&curious).write_all(b"?").unwrap();
        let answer = read_exactly(&curious, expected.len());
        if answer == expected.as_bytes() {
            break;
        }
        assert!(asked < 100, "{}", String::from_utf8_lossy(&answer));
    }
}
