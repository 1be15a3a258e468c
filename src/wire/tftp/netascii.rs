//! Netascii: text whose lines end in CR LF on the wire and in LF in a file. A CR by
//! itself is CR NUL on the wire, so every file survives the way there and back.

/// Appends a file's bytes as they go over the wire. Every byte stands for itself, so a
/// file may be handed over in pieces.
pub fn encode(bytes: &[u8], to: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        to.extend_from_slice(&rest[..at]);
        to.extend_from_slice(if rest[at] == b'\n' { b"\r\n" } else { b"\r\0" });
        rest = &rest[at + 1..];
    }
    to.extend_from_slice(rest);
}

/// Turns what came over the wire into a file's bytes: [`decode`](Decoder::decode) each
/// piece, then [`finish`](Decoder::finish).
#[derive(Debug, Default)]
pub struct Decoder {
    /// A CR came, and what follows it has not.
    after_cr: bool,
}

impl Decoder {
    /// Appends the bytes that this piece stands for. A CR that is followed by neither LF
    /// nor NUL stands for itself.
    pub fn decode(&mut self, bytes: &[u8], to: &mut Vec<u8>) {
        for &byte in bytes {
            match (std::mem::take(&mut self.after_cr), byte) {
                (true, b'\n') => to.push(b'\n'),
                (true, 0) => to.push(b'\r'),
                (after_cr, byte) => {
                    if after_cr {
                        to.push(b'\r');
                    }
                    match byte {
                        b'\r' => self.after_cr = true,
                        byte => to.push(byte),
                    }
                }
            }
        }
    }

    /// Appends what the end of the wire leaves: a CR that nothing follows.
    pub fn finish(&mut self, to: &mut Vec<u8>) {
        if std::mem::take(&mut self.after_cr) {
            to.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut decoder, mut file) = (Decoder::default(), Vec::new());
        pieces.into_iter().for_each(|piece| decoder.decode(piece, &mut file));
        decoder.finish(&mut file);
        file
    }

    #[test]
    fn ends_of_lines_are_translated() {
        let mut wire = Vec::new();
        encode("첫 줄\n둘째\r\n\r끝".as_bytes(), &mut wire);
        assert_eq!(wire, "첫 줄\r\n둘째\r\0\r\n\r\0끝".as_bytes());
        for (wire, file) in
            [("a\r\nb", "a\nb"), ("a\r\0b", "a\rb"), ("a\rb", "a\rb"), ("a\r\r\n", "a\r\n"), ("a\r", "a\r")]
        {
            assert_eq!(decoded([wire.as_bytes()]), file.as_bytes(), "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn a_file_survives_however_it_is_split(
            file in prop::collection::vec(prop::sample::select(&b"\r\n\0ab"[..]), 0..64),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut wire = Vec::new();
            crate::rehearsal::splits(&file, &cuts).into_iter().for_each(|piece| encode(piece, &mut wire));
            prop_assert_eq!(decoded(crate::rehearsal::splits(&wire, &cuts)), file);
        }
    }
}
