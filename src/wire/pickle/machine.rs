//! The stack machine of a pickle, with no values but those of which numpy makes an
//! array. A tuple is recognized when it is made: one that numpy does not write is
//! refused on the spot, so that no value holds others.

use super::{Array, Refusal, column_major, row_major};

/// How many instructions a pickle may have. numpy writes about 60. This bounds the
/// stack and the memo too, since an instruction adds at most one value.
const MAX_STEPS: usize = 256;

/// How much of a refused name is repeated in the reason.
const MAX_NAME: usize = 60;

/// The opcodes that numpy's arrays need, under the names of Python's `pickletools`.
mod op {
    pub const MARK: u8 = b'(';
    pub const STOP: u8 = b'.';
    pub const BINBYTES: u8 = b'B';
    pub const SHORT_BINBYTES: u8 = b'C';
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const NONE: u8 = b'N';
    pub const REDUCE: u8 = b'R';
    pub const BINUNICODE: u8 = b'X';
    pub const BUILD: u8 = b'b';
    pub const GLOBAL: u8 = b'c';
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const TUPLE: u8 = b't';
    pub const PROTO: u8 = 0x80;
    pub const TUPLE1: u8 = 0x85;
    pub const TUPLE2: u8 = 0x86;
    pub const TUPLE3: u8 = 0x87;
    pub const NEWTRUE: u8 = 0x88;
    pub const NEWFALSE: u8 = 0x89;
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const BINUNICODE8: u8 = 0x8d;
    pub const BINBYTES8: u8 = 0x8e;
    pub const STACK_GLOBAL: u8 = 0x93;
    pub const MEMOIZE: u8 = 0x94;
    pub const FRAME: u8 = 0x95;
    pub const BYTEARRAY8: u8 = 0x96;
}

/// What may lie on the stack.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Mark,
    None,
    Bool(bool),
    Int(i32),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Name(Name),
    Shape(Shape),
    /// `(ndarray, (0,), b'b')`, for `_reconstruct`.
    BlankArguments,
    /// An array whose state a BUILD will set.
    Blank,
    /// `('u1', False, True)`, for `dtype`.
    DtypeArguments,
    /// The element type `uint8`.
    Dtype,
    /// `(3, '|', None, None, None, -1, -1, 0)`, the state of a `uint8`.
    DtypeState,
    /// `(1, shape, dtype, is_fortran, bytes)`, the state of an array.
    ArrayState(Array<'a>),
    /// `(buffer, dtype, shape, order)` or `(buffer, dtype, shape, 'K', axes)`, for
    /// `_frombuffer`.
    BufferArguments(Array<'a>),
    /// `(shape, 'uint8', buffer)`, for `ndarray`.
    NdarrayArguments(Array<'a>),
    Array(Array<'a>),
}

/// What a pickle may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Reconstruct,
    FromBuffer,
    Ndarray,
    Dtype,
}

/// A tuple of one to three numbers; those it lacks are 1.
#[derive(Debug, Clone, Copy)]
struct Shape {
    dimensions: [i32; 3],
    count: usize,
}

pub(super) struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    memo: Vec<(u32, Value<'a>)>,
    max_bytes: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(pickle: &'a [u8], max_bytes: usize) -> Machine<'a> {
        Machine { pickle, at: 0, stack: Vec::new(), memo: Vec::new(), max_bytes }
    }

    pub(super) fn run(mut self) -> Result<Array<'a>, Refusal> {
        match self.pickle {
            [] | [op::PROTO] => return Err(Refusal::EndsEarly),
            [op::PROTO, 3..=5, ..] => self.at = 2,
            [op::PROTO, protocol, ..] => return Err(Refusal::Protocol(*protocol)),
            _ => return Err(Refusal::NotAPickle),
        }
        for _ in 0..MAX_STEPS {
            let at = self.at;
            let [opcode] = self.take()?;
            if opcode == op::STOP {
                return self.result(at);
            }
            self.step(opcode, at)?;
        }
        Err(Refusal::Structure { at: self.at })
    }

    fn result(&self, at: usize) -> Result<Array<'a>, Refusal> {
        match self.stack[..] {
            [Value::Array(_)] if self.at < self.pickle.len() => Err(Refusal::EndsLate),
            [Value::Array(array)] => Ok(array),
            _ => Err(Refusal::Structure { at }),
        }
    }

    fn step(&mut self, opcode: u8, at: usize) -> Result<(), Refusal> {
        let value = match opcode {
            op::FRAME => return self.take::<8>().map(drop),
            op::BINPUT => {
                let [slot] = self.take()?;
                return self.memoize(u32::from(slot), at);
            }
            op::LONG_BINPUT => {
                let slot = u32::from_le_bytes(self.take()?);
                return self.memoize(slot, at);
            }
            op::MEMOIZE => return self.memoize(self.memo.len() as u32, at),
            op::MARK => Value::Mark,
            op::NONE => Value::None,
            op::NEWTRUE => Value::Bool(true),
            op::NEWFALSE => Value::Bool(false),
            op::BININT => Value::Int(i32::from_le_bytes(self.take()?)),
            op::BININT1 => Value::Int(i32::from(self.take::<1>()?[0])),
            op::BININT2 => Value::Int(i32::from(u16::from_le_bytes(self.take()?))),
            op::SHORT_BINUNICODE => Value::Text(self.counted::<1>()?),
            op::BINUNICODE => Value::Text(self.counted::<4>()?),
            op::BINUNICODE8 => Value::Text(self.counted::<8>()?),
            op::SHORT_BINBYTES => Value::Bytes(self.counted::<1>()?),
            op::BINBYTES => Value::Bytes(self.counted::<4>()?),
            op::BINBYTES8 | op::BYTEARRAY8 => Value::Bytes(self.counted::<8>()?),
            op::BINGET => {
                let [slot] = self.take()?;
                self.remembered(u32::from(slot), at)?
            }
            op::LONG_BINGET => {
                let slot = u32::from_le_bytes(self.take()?);
                self.remembered(slot, at)?
            }
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                Value::Name(resolve(module, name)?)
            }
            op::STACK_GLOBAL => {
                let [Value::Text(module), Value::Text(name)] = self.pop(at)? else {
                    return Err(Refusal::Structure { at });
                };
                Value::Name(resolve(module, name)?)
            }
            op::TUPLE1 => {
                let items: [_; 1] = self.pop(at)?;
                self.tuple(&items, at)?
            }
            op::TUPLE2 => {
                let items: [_; 2] = self.pop(at)?;
                self.tuple(&items, at)?
            }
            op::TUPLE3 => {
                let items: [_; 3] = self.pop(at)?;
                self.tuple(&items, at)?
            }
            op::TUPLE => {
                let is_mark = |value: &Value| matches!(value, Value::Mark);
                let mark = self.stack.iter().rposition(is_mark).ok_or(Refusal::Structure { at })?;
                let tuple = self.tuple(&self.stack[mark + 1..], at)?;
                self.stack.truncate(mark);
                tuple
            }
            op::REDUCE => match self.pop(at)? {
                [Value::Name(Name::Reconstruct), Value::BlankArguments] => Value::Blank,
                [Value::Name(Name::Dtype), Value::DtypeArguments] => Value::Dtype,
                [Value::Name(Name::FromBuffer), Value::BufferArguments(array)]
                | [Value::Name(Name::Ndarray), Value::NdarrayArguments(array)] => Value::Array(array),
                _ => return Err(Refusal::Structure { at }),
            },
            op::BUILD => match self.pop(at)? {
                [Value::Blank, Value::ArrayState(array)] => Value::Array(array),
                [Value::Dtype, Value::DtypeState] => Value::Dtype,
                _ => return Err(Refusal::Structure { at }),
            },
            _ => return Err(Refusal::Instruction { opcode, at }),
        };
        self.stack.push(value);
        Ok(())
    }

    /// Recognizes the tuples that numpy writes for an array of `uint8`.
    fn tuple(&self, items: &[Value<'a>], at: usize) -> Result<Value<'a>, Refusal> {
        use Value::{Bool, Bytes, Dtype, Int, None, Text};
        Ok(match *items {
            [Int(a)] => Value::Shape(Shape { dimensions: [a, 1, 1], count: 1 }),
            [Int(a), Int(b)] => Value::Shape(Shape { dimensions: [a, b, 1], count: 2 }),
            [Int(a), Int(b), Int(c)] => Value::Shape(Shape { dimensions: [a, b, c], count: 3 }),
            [
                Value::Name(Name::Ndarray),
                Value::Shape(Shape { dimensions: [0, ..], count: 1 }),
                Bytes(b"b"),
            ] => Value::BlankArguments,
            // Early releases of numpy 1 wrote 0 and 1 for False and True.
            [Text(b"u1"), Bool(false), Bool(true)] | [Text(b"u1"), Int(0), Int(1)] => Value::DtypeArguments,
            [Text(code), Bool(_) | Int(_), Bool(_) | Int(_)] => {
                return Err(Refusal::ElementType(excerpt(code)));
            }
            [Int(3), Text(b"|"), None, None, None, Int(-1), Int(-1), Int(0)] => Value::DtypeState,
            [Int(1), Value::Shape(shape), Dtype, Bool(is_fortran), Bytes(data)] => {
                let layout = if is_fortran { column_major } else { row_major };
                Value::ArrayState(self.array(shape, layout, data)?)
            }
            [Bytes(data), Dtype, Value::Shape(shape), Text(b"C")] => {
                Value::BufferArguments(self.array(shape, row_major, data)?)
            }
            [Bytes(data), Dtype, Value::Shape(shape), Text(b"F")] => {
                Value::BufferArguments(self.array(shape, column_major, data)?)
            }
            // Since numpy 2: row by row in this shape, and then with its axes exchanged.
            [Bytes(data), Dtype, Value::Shape(shape), Text(b"K"), Value::Shape(axes)] => {
                let stored = self.array(shape, row_major, data)?;
                Value::BufferArguments(
                    transpose(&stored, shape.count, axes).ok_or(Refusal::Structure { at })?,
                )
            }
            [Value::Shape(shape), Text(b"uint8"), Bytes(data)] => {
                Value::NdarrayArguments(self.array(shape, row_major, data)?)
            }
            [Int(_), Int(_), Int(_), ..] if items.iter().all(|item| matches!(item, Int(_))) => {
                return Err(Refusal::Dimensions);
            }
            _ => return Err(Refusal::Structure { at }),
        })
    }

    fn array(
        &self,
        shape: Shape,
        layout: fn([usize; 3]) -> [usize; 3],
        data: &'a [u8],
    ) -> Result<Array<'a>, Refusal> {
        let positive = shape.dimensions.map(|dimension| u64::try_from(dimension).unwrap_or(0));
        let [height, width, channels] = positive;
        if shape.count < 2 || positive.contains(&0) {
            return Err(Refusal::Dimensions);
        }
        // Two dimensions fit in 62 bits.
        let bytes = (height * width).saturating_mul(channels);
        if bytes > self.max_bytes as u64 {
            return Err(Refusal::TooLarge { bytes, limit: self.max_bytes });
        }
        let announced = bytes as usize;
        if announced != data.len() {
            return Err(Refusal::Length { announced, present: data.len() });
        }
        let [height, width, channels] = positive.map(|dimension| dimension as usize);
        Ok(Array { data, height, width, channels, strides: layout([height, width, channels]) })
    }

    fn memoize(&mut self, slot: u32, at: usize) -> Result<(), Refusal> {
        let top = *self.stack.last().ok_or(Refusal::Structure { at })?;
        self.memo.push((slot, top));
        Ok(())
    }

    fn remembered(&self, slot: u32, at: usize) -> Result<Value<'a>, Refusal> {
        let latest = self.memo.iter().rev().find(|(number, _)| *number == slot);
        latest.map(|(_, value)| *value).ok_or(Refusal::Structure { at })
    }

    /// Takes the topmost `N` values, the lowest first.
    fn pop<const N: usize>(&mut self, at: usize) -> Result<[Value<'a>; N], Refusal> {
        let values = *self.stack.last_chunk().ok_or(Refusal::Structure { at })?;
        self.stack.truncate(self.stack.len() - N);
        Ok(values)
    }

    /// The bytes behind a length of `N` bytes.
    fn counted<const N: usize>(&mut self) -> Result<&'a [u8], Refusal> {
        let mut length = [0; 8];
        length[..N].copy_from_slice(&self.take::<N>()?);
        self.slice(usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a [u8], Refusal> {
        let end = self.pickle[self.at..].iter().take(MAX_STEPS).position(|byte| *byte == b'\n');
        let line = self.slice(end.ok_or(Refusal::EndsEarly)?)?;
        self.at += 1;
        Ok(line)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let bytes = *self.pickle[self.at..].first_chunk().ok_or(Refusal::EndsEarly)?;
        self.at += N;
        Ok(bytes)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        let bytes = self.pickle[self.at..].get(..length).ok_or(Refusal::EndsEarly)?;
        self.at += length;
        Ok(bytes)
    }
}

/// The array whose first axis is `axes[0]` of this one, and so on; `None` if `axes` does not
/// name each of its `count` axes once.
fn transpose<'a>(array: &Array<'a>, count: usize, axes: Shape) -> Option<Array<'a>> {
    let mut order = [0, 1, 2];
    for (place, axis) in order.iter_mut().zip(axes.dimensions).take(count) {
        *place = usize::try_from(axis).ok()?;
    }
    let names_each = (0..3).all(|axis| order.contains(&axis));
    if axes.count != count || !names_each {
        return None;
    }
    let dimensions = [array.height, array.width, array.channels];
    let [height, width, channels] = order.map(|axis| dimensions[axis]);
    Some(Array { data: array.data, height, width, channels, strides: order.map(|axis| array.strides[axis]) })
}

fn resolve(module: &[u8], name: &[u8]) -> Result<Name, Refusal> {
    match (module, name) {
        (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Ok(Name::Reconstruct),
        (b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer") => Ok(Name::FromBuffer),
        (b"numpy", b"ndarray") => Ok(Name::Ndarray),
        (b"numpy", b"dtype") => Ok(Name::Dtype),
        _ => Err(Refusal::Names(format!("{}.{}", excerpt(module), excerpt(name)))),
    }
}

/// The start of a text from a peer, fit for a log line.
fn excerpt(text: &[u8]) -> String {
    text[..text.len().min(MAX_NAME)].escape_ascii().to_string()
}
