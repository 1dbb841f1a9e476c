//! Gzip files of several members.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The members of a gzip file one after another; zeros after a member, which tapes and blocks of disks leave, are passed
/// over, as gzip does.
pub(super) struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Members<R> {
    pub(super) fn new(file: R) -> Self {
        Members(Some(GzDecoder::new(file)))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let got = decoder.read(into)?;
            if got > 0 || into.is_empty() {
                return Ok(got);
            }
            let Some(mut rest) = self.0.take().map(GzDecoder::into_inner) else { break };
            loop {
                let buffer = rest.fill_buf()?;
                let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
                let (all, is_end) = (zeros == buffer.len(), buffer.is_empty());
                rest.consume(zeros);
                if is_end {
                    return Ok(0);
                }
                if !all {
                    break;
                }
            }
            self.0 = Some(GzDecoder::new(rest));
        }
        Ok(0)
    }
}
