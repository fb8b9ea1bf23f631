//! Lines of a stream, each as soon as it is there.

use bpftables_parser::restore::{Lines, line_end, seen};
use std::io::{BufRead, BufReader, ErrorKind, Read};

/// How much is read at once.
const CHUNK: usize = 1 << 16;

/// A stream that is read line by line. What cannot be read is its end.
pub(crate) struct Input<'r> {
    stream: BufReader<&'r mut dyn Read>,
    /// What the last line has of the stream's buffer.
    taken: usize,
    /// A line that did not lie in the buffer as a whole.
    line: Vec<u8>,
}

impl<'r> Input<'r> {
    pub(crate) fn new(stream: &'r mut dyn Read) -> Self {
        Self { stream: BufReader::with_capacity(CHUNK, stream), taken: 0, line: Vec::new() }
    }

    /// Waits until there is something, or the end.
    fn fill(&mut self) -> &[u8] {
        while let Err(error) = self.stream.fill_buf() {
            if error.kind() != ErrorKind::Interrupted {
                return &[];
            }
        }
        self.stream.buffer()
    }
}

impl Lines for Input<'_> {
    fn next_line(&mut self) -> Option<&[u8]> {
        self.stream.consume(std::mem::take(&mut self.taken));
        self.line.clear();
        loop {
            let before = self.line.len();
            let (end, whole) = line_end(self.fill(), before);
            if whole && before == 0 {
                self.taken = end;
                return Some(seen(&self.stream.buffer()[..end]));
            }
            self.line.extend_from_slice(&self.stream.buffer()[..end]);
            self.stream.consume(end);
            if whole || end == 0 {
                return (!self.line.is_empty()).then(|| seen(&self.line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpftables_parser::restore::take_line;

    /// Gives as many bytes at once as it is told, and fails now and then.
    struct Slow<'t>(&'t [u8], Vec<usize>);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let size = self.1.pop().unwrap_or(7);
            if size == 0 {
                return Err(ErrorKind::Interrupted.into());
            }
            let size = size.min(buffer.len()).min(self.0.len());
            buffer[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    #[test]
    fn lines_are_those_of_the_whole_text_however_it_comes() {
        let long = "x".repeat(25_000);
        let text = format!("*filter\n\n-A INPUT\0 -j x\n{long}\n{}\nlast", &long[..10_238]);
        for sizes in [vec![], vec![0, 1, 0, 2, 3], vec![9, 20_000, 0, 11, 1], vec![1_000_000]] {
            let mut slow = Slow(text.as_bytes(), sizes);
            let mut input = Input::new(&mut slow);
            let mut rest = text.as_bytes();
            let mut count = 0;
            while let Some(line) = take_line(&mut rest) {
                assert_eq!(input.next_line(), Some(line));
                count += 1;
            }
            assert_eq!(input.next_line(), None);
            assert!(count > 7, "{count}");
        }
    }

    #[test]
    fn a_line_is_there_before_the_next_one_is_read() {
        struct OneLine(bool);
        impl Read for OneLine {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                assert!(!std::mem::replace(&mut self.0, true), "more is asked for than there is");
                buffer[..8].copy_from_slice(b"*filter\n");
                Ok(8)
            }
        }
        let mut once = OneLine(false);
        assert_eq!(Input::new(&mut once).next_line(), Some(&b"*filter\n"[..]));
    }
}
