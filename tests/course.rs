//! Runs the course's own programs, `tests/course/*.py`, written as its students
//! write them, against the daemon, and our clients against the course's servers.
//!
//! Each program is a test of its own. Without `python3` they are reported as
//! ignored.

#[path = "course/clients.rs"]
mod clients;
#[path = "course/file_clients.rs"]
mod file_clients;
#[path = "course/files.rs"]
mod files;
#[path = "course/program.rs"]
mod program;
mod support;
#[path = "support/trials.rs"]
mod trials;
#[path = "course/video.rs"]
mod video;

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::Arguments;
use program::Program;
use socket2::SockRef;
use support::{Daemon, connect, read_exactly};
use trials::trial;

use Transport::{Tcp, Udp};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let has_python = python_runs();
    if !has_python {
        eprintln!(
            "python3 does not run here: the course's programs are ignored, install it to test with them"
        );
    }
    let mut tests = Vec::new();
    for student in STUDENTS {
        let name = format!("{} against {}", student.program, student.service);
        tests.push((name, Box::new(|| student.visits()) as Test));
    }
    for (name, test) in MEETINGS.iter().chain(clients::TESTS).chain(files::TESTS).chain(file_clients::TESTS) {
        tests.push(((*name).to_owned(), Box::new(test)));
    }
    let obstacle = (!has_python).then(|| "there is no python3".to_owned());
    let trials = tests.into_iter().map(|(name, test)| trial(name, obstacle.clone(), test));
    let trials = trials.chain(video::trials()).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

type Test = Box<dyn FnOnce() + Send>;

fn python_runs() -> bool {
    let mut command = Command::new("python3");
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[derive(Clone, Copy)]
enum Transport {
    Tcp,
    Udp,
}

/// A program that talks to one service on its own.
struct Student {
    program: &'static str,
    service: &'static str,
    transport: Transport,
    /// Everything that it prints.
    sees: &'static str,
}

impl Student {
    const fn new(
        program: &'static str,
        service: &'static str,
        transport: Transport,
        sees: &'static str,
    ) -> Student {
        Student { program, service, transport, sees }
    }

    fn visits(&self) {
        let daemon = daemon(self.service);
        let transport = match self.transport {
            Tcp => "tcp",
            Udp => "udp",
        };
        // Each of the service's own addresses: discovery has two.
        for address in daemon.addresses(self.service, transport) {
            visit(self.program, address).ends_with(self.sees);
        }
        serves_on(&daemon);
    }
}

/// A daemon with this service on a free port, and echo to show that it is alive.
fn daemon(service: &str) -> Daemon {
    let port = format!("{service}=0");
    if service == "echo" {
        return Daemon::start(&["--only", service, "--port", &port]);
    }
    Daemon::start(&["--only", service, "--port", &port, "--only", "echo", "--port", "echo=0"])
}

fn visit(program: &str, address: SocketAddr) -> Program {
    Program::python(program, &address.ip().to_string(), address.port(), &[])
}

/// Whatever its clients did, the daemon goes on serving.
fn serves_on(daemon: &Daemon) {
    let mut stream = connect(daemon.tcp("echo"));
    stream.write_all("아직 거기 있어?".as_bytes()).unwrap();
    assert_eq!(read_exactly(&stream, "아직 거기 있어?".len()), "아직 거기 있어?".as_bytes());
}

const NUMBERS: &str = "1 -> one\n2 -> two\n3 -> three\n4 -> four\n5 -> five\n6 -> six\n7 -> seven\n\
                       8 -> eight\n9 -> nine\n10 -> ten\n11 -> Try again\n열 -> Try again\n";

const STUDENTS: &[Student] = &[
    Student::new(
        "echo_client",
        "echo",
        Tcp,
        "받은 메시지: 안녕하세요\n받은 메시지: Hello, 서버!\n받은 메시지: /end\n연결 종료: b''\n",
    ),
    Student::new("echo_one_megabyte", "echo", Tcp, "1 MB 넘게 보냄: True\n모두 돌아옴: True\n"),
    Student::new("echo_threads", "echo", Tcp, "[(0, True), (1, True), (2, True), (3, True), (4, True)]\n"),
    Student::new(
        "echo_select",
        "echo",
        Tcp,
        "0 0번\n1 1번\n2 2번\n3 3번\n4 4번\n5 5번\n6 6번\n7 7번\n8 8번\n9 9번\n",
    ),
    Student::new("echo_struct", "echo", Tcp, "20261234 홍길동 4.5\n"),
    Student::new(
        "upper_client",
        "upper",
        Tcp,
        "서버에서: HELLO WORLD, 안녕 STRASSE\n파이썬과 같음: True\n남은 것: b''\n",
    ),
    Student::new("time_client", "time", Tcp, "글자 수: 24\n지금 시각: True\n"),
    Student::new("number_client", "number", Tcp, NUMBERS),
    Student::new("number_makefile", "number", Tcp, "'three\\n'\n'seven\\n'\n'Try again\\n'\n"),
    Student::new("json_client", "json", Tcp, "같은 값: True 같은 글: True\n같은 값: True 같은 글: True\n"),
    Student::new("json_pieces", "json", Tcp, "{'번호': 1} {'번호': 2}\n{'도시': '서울'}\n"),
    Student::new(
        "udp_echo_client",
        "echo",
        Udp,
        "'안녕' True\n'' True\n'두 번째 데이터그램' True\n'/end' True\n",
    ),
    Student::new("udp_upper_client", "upper", Udp, "HELLO, 유디피\n"),
    Student::new(
        "udp_number_client",
        "number",
        Udp,
        "1 -> one\n5 -> five\n10 -> ten\n0 -> Try again\n다섯 -> Try again\n",
    ),
    Student::new("udp_time_client", "time", Udp, "지금 시각: True\n"),
    Student::new("udp_hello_client", "hello", Udp, "Message from Server: Hello UDP Client\n"),
    Student::new("discovery_client", "discovery", Udp, "127.0.0.1: receive message\n더 없음\n"),
    Student::new("multicast_sender", "multicast", Udp, "받음: ACK\n더 없음\n"),
    Student::new("mistake_never_closes", "echo", Tcp, "닫는 것을 잊었다\n"),
    Student::new("mistake_closes_unread", "echo", Tcp, "나는 괜찮아\n"),
    Student::new("mistake_resets", "echo", Tcp, "천천히\n"),
    Student::new("mistake_half_closes_at_once", "echo", Tcp, "b''\n"),
    Student::new("mistake_half_closes_at_once", "upper", Tcp, "b''\n"),
    Student::new("mistake_half_closes_at_once", "number", Tcp, "b''\n"),
    Student::new("mistake_half_closes_at_once", "json", Tcp, "b''\n"),
    Student::new("mistake_half_closes_at_once", "chat", Tcp, "b''\n"),
    Student::new("mistake_cuts_a_character", "upper", Tcp, "한글 É\n"),
    Student::new("mistake_cuts_a_character", "number", Tcp, "Try again\n"),
    Student::new(
        "mistake_sends_line_ends",
        "number",
        Tcp,
        "'one\\n'\n'two\\n'\n'Try again\\n'\n'three\\n'\n'four\\n'\n",
    ),
    Student::new("mistake_many_small_sends", "echo", Tcp, "True\n"),
    Student::new("mistake_leaves_at_once", "echo", Tcp, "이번에는 진짜\n"),
    Student::new("mistake_receives_first", "echo", Tcp, "서로 기다림\n먼저 말하기\n"),
    Student::new("mistake_sends_after_the_end", "upper", Tcp, "b'FIRST'\nb''\nb''\n"),
    Student::new(
        "mistake_forgets_to_decode",
        "echo",
        Tcp,
        "TypeError: a bytes-like object is required, not 'str'\n\
         b'\\xec\\x95\\x88\\xeb\\x85\\x95' False True\n",
    ),
    Student::new("mistake_small_recv", "echo", Tcp, "글자가 잘림\n가나다\n"),
    Student::new("mistake_udp_small_recv", "echo", Udp, "hello\nbye\n"),
    Student::new("mistake_udp_leaves_unread", "echo", Udp, "이번에는 기다릴게\n"),
];

/// Programs that run together.
const MEETINGS: &[(&str, fn())] = &[
    ("broadcast_receiver against beacon", two_receivers_hear_the_beacon),
    ("chat_client and chat_selectors against chat", three_members_chat_over_tcp),
    ("udp_chat_client and chat_client against chat", udp_and_tcp_members_share_the_room),
    ("echo_one_megabyte eight times against echo", a_whole_class_sends_a_megabyte_each),
];

fn two_receivers_hear_the_beacon() {
    let (_held, port) = shared_udp_port();
    let receivers = [(); 2].map(|()| Program::python("broadcast_receiver", "", port, &[]));
    let text = format!("[services.beacon]\nudp = {port}\ninterval = \"50ms\"\n");
    let _daemon = Daemon::with_config("course-beacon", &text);
    for receiver in receivers {
        receiver.ends_with(&"방송: broadcast message\n".repeat(3));
    }
}

fn three_members_chat_over_tcp() {
    let daemon = daemon("chat");
    let join = |program: &str, name: &str| {
        let address = daemon.tcp("chat");
        Program::python(program, &address.ip().to_string(), address.port(), &[name])
    };
    let mut chulsoo = join("chat_client", "철수");
    chulsoo.shows(&["입장: 철수"]);
    let mut younghee = join("chat_client", "영희");
    younghee.shows(&["입장: 영희"]);
    // The last one to join speaks first, so the others are members by then.
    let minsoo = join("chat_selectors", "민수");
    chulsoo.shows(&["입장: 철수", "[민수] 안녕하세요"]);
    younghee.shows(&["입장: 영희", "[민수] 안녕하세요"]);

    chulsoo.types("점심 먹자");
    younghee.shows(&["입장: 영희", "[민수] 안녕하세요", "[철수] 점심 먹자"]);
    minsoo.shows(&["[철수] 점심 먹자"]);
    younghee.types("이제 그만");
    minsoo.ends_with("[철수] 점심 먹자\n[영희] 이제 그만\n");
    chulsoo.shows(&["입장: 철수", "[민수] 안녕하세요", "[영희] 이제 그만"]);
    chulsoo.types("bye");
    chulsoo.ends_with("입장: 철수\n[민수] 안녕하세요\n[영희] 이제 그만\n");
    younghee.types("아무도 없나?");
    younghee.types("bye");
    younghee.ends_with("입장: 영희\n[민수] 안녕하세요\n[철수] 점심 먹자\n");
    serves_on(&daemon);
}

fn udp_and_tcp_members_share_the_room() {
    let daemon = daemon("chat");
    let join = |program: &str, name: &str| {
        let address = if program == "chat_client" { daemon.tcp("chat") } else { daemon.udp("chat") };
        Program::python(program, &address.ip().to_string(), address.port(), &[name])
    };
    let mut tcp = join("chat_client", "티시피");
    tcp.shows(&["입장: 티시피"]);
    let mut first = join("udp_chat_client", "하나");
    tcp.shows(&["입장: 티시피", "[하나] 들어왔습니다"]);
    let mut second = join("udp_chat_client", "둘");
    tcp.shows(&["입장: 티시피", "[하나] 들어왔습니다", "[둘] 들어왔습니다"]);
    first.shows(&["입장: 하나", "[둘] 들어왔습니다"]);

    tcp.types("모두 들려?");
    first.shows(&["입장: 하나", "[둘] 들어왔습니다", "[티시피] 모두 들려?"]);
    second.shows(&["입장: 둘", "[티시피] 모두 들려?"]);
    first.types("quit");
    first.ends_with("입장: 하나\n[둘] 들어왔습니다\n[티시피] 모두 들려?\n");
    second.types("나는 들려");
    tcp.shows(&["입장: 티시피", "[하나] 들어왔습니다", "[둘] 들어왔습니다", "[둘] 나는 들려"]);
    tcp.types("bye");
    tcp.ends_with("입장: 티시피\n[하나] 들어왔습니다\n[둘] 들어왔습니다\n[둘] 나는 들려\n");
    second.types("quit");
    second.ends_with("입장: 둘\n[티시피] 모두 들려?\n");
    serves_on(&daemon);
}

fn a_whole_class_sends_a_megabyte_each() {
    let daemon = daemon("echo");
    let class = [(); 8].map(|()| visit("echo_one_megabyte", daemon.tcp("echo")));
    for student in class {
        student.ends_with("1 MB 넘게 보냄: True\n모두 돌아옴: True\n");
    }
    serves_on(&daemon);
}

/// A port that nobody else can get while this is held, except programs with
/// SO_REUSEADDR.
fn shared_udp_port() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Set only now: with the option set earlier, two tests might get the same
    // port.
    SockRef::from(&socket).set_reuse_address(true).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}
