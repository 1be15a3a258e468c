//! quote: the quote of the day, over TCP and UDP (RFC 865).

use std::net::SocketAddr;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Key, Plan, Settings, Value};
use crate::service::{Context, Farewell, Service, SocketId};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "quote",
    about: "tells the quote of the day, then closes",
    notes: "The next one comes at midnight, local time.",
    tcp: Some(6017),
    udp: Some(6017),
    keys: &[QUOTES],
    plan,
};

const QUOTES: Key = Key {
    name: "quotes",
    value: Value::Default(
        r#"[
    "Read until it is all there: one read may return less.",
    "시작이 반이다.",
    "TCP keeps bytes in order; it keeps no messages.",
    "천 리 길도 한 걸음부터.",
    "Whoever waits in one place can serve many.",
    "읽지 않는 상대를 오래 기다리지 마라.",
    "A datagram comes whole or not at all.",
]"#,
    ),
    about: "One quote per day, in turn. Each has at most 56 bytes, since a UDP answer should not be \
            much longer than the question.",
};

/// The most bytes of a quote. The shortest question is an IP packet of 28 bytes, padded
/// to 46 on Ethernet; an answer has at most 84, which is less than twice as much.
const LONGEST: usize = 56;
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

fn plan(settings: &mut Settings<'_>) -> Plan {
    let quotes = settings.get(&QUOTES, quotes);
    settings.listen(Quote { quotes, zone: TimeZone::system() })
}

fn quotes(value: &Toml<'_>) -> Read<Vec<String>> {
    let list = value.as_array().ok_or_else(|| values::instead("a list such as [\"…\", \"…\"]", value))?;
    if list.is_empty() {
        return Err("there is nothing to tell; write at least one quote".into());
    }
    let quotes = (1..).zip(list.iter()).map(|(number, quote)| {
        let text = values::text(quote.get_ref()).map_err(|reason| format!("quote {number}: {reason}"))?;
        match text.len() {
            0 => Err(format!("quote {number} is empty")),
            1..=LONGEST => Ok(text),
            length => Err(format!("quote {number} has {length} bytes; give it at most {LONGEST}: {text:?}")),
        }
    });
    quotes.collect()
}

/// The quote service: it sends the quote to whoever connects, and closes.
#[derive(Debug)]
struct Quote {
    /// There is at least one.
    quotes: Vec<String>,
    zone: TimeZone,
}

impl Quote {
    /// The quote of the day; the next one follows at midnight.
    fn of_the_day(&self, now: SystemTime) -> &[u8] {
        // Only a clock set thousands of years off is out of range.
        let now = Timestamp::try_from(now).unwrap_or_default();
        let offset = i64::from(self.zone.to_offset(now).seconds());
        let day = (now.as_second() + offset).div_euclid(SECONDS_PER_DAY);
        let turn = day.rem_euclid(self.quotes.len() as i64);
        self.quotes[turn as usize].as_bytes()
    }
}

impl Service for Quote {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.send(self.of_the_day(cx.system_time()));
        cx.close();
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, _: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, self.of_the_day(cx.system_time()));
    }

    fn farewell(&self, why: Farewell) -> String {
        why.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;
    use crate::services::refused;
    use std::time::Duration;

    /// 9 hours east of UTC, at a number of seconds since 1970.
    fn stage(seconds: u64) -> Rehearsal<Quote> {
        let quotes = ["하나", "둘", "셋"].map(String::from).into();
        let mut stage = Rehearsal::new(Quote { quotes, zone: TimeZone::posix("KST-9").unwrap() });
        stage.set_wall_clock(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        stage
    }

    #[test]
    fn who_connects_is_told_the_quote_and_the_connection_closes() {
        let mut stage = stage(0);
        let client = stage.connect();
        assert_eq!(stage.received(client), "하나".as_bytes());
        assert!(stage.is_closed(client));
    }

    #[test]
    fn it_changes_at_midnight_local_time_and_begins_again_after_the_last() {
        let last_second = 15 * 3600 - 1;
        let mut stage = stage(last_second);
        let from = ([127, 0, 0, 1], 41_000).into();
        stage.datagram(from, b"");
        for second in [1, 24 * 3600, 24 * 3600] {
            stage.pass(Duration::from_secs(second));
            stage.datagram(from, "오늘은?".as_bytes());
        }
        let told: Vec<_> = stage.datagrams().into_iter().map(|(_, quote)| quote).collect();
        assert_eq!(told, ["하나", "둘", "셋", "하나"].map(|quote| quote.as_bytes().to_vec()));
    }

    #[test]
    fn a_list_that_cannot_be_told_is_refused_where_it_stands() {
        let long = format!("tcp = 1\nquotes = [\n\"하나\",\n\"{}\"]", "가".repeat(19));
        refused(
            &DESCRIPTION,
            &[
                ("tcp = 1\nquotes = []", (3, 10), "nothing to tell"),
                ("tcp = 1\nquotes = \"하나\"", (3, 10), "expected a list"),
                ("tcp = 1\nquotes = [\"하나\", 2]", (3, 10), "quote 2: expected a string, not an integer"),
                ("tcp = 1\nquotes = [\"하나\", \"\"]", (3, 10), "quote 2 is empty"),
                (&long, (3, 10), "quote 2 has 57 bytes; give it at most 56"),
            ],
        );
    }
}
