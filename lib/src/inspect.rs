//! Sessions seen from outside: by a third process, which only looks.

use std::collections::BTreeMap;
use std::mem::offset_of;

use crate::error::{Delivered, Error};
use crate::options::Side;
use crate::region::access::Theirs;
use crate::region::layout::{self, Control, FIGURES, GREETING_MAX, Geometry, Published, SHOWN};
use crate::sys;

/// A session of processes of this user, as it was when [`sessions`] looked.
///
/// Everything here is the word of the processes that it is about.
#[derive(Clone, Debug)]
pub struct Session {
    block_size: usize,
    block_count: usize,
    reader: Option<Member>,
    writer: Option<Member>,
}

/// One of the processes of a [`Session`].
#[derive(Clone, Debug)]
pub struct Member {
    process_id: u32,
    blocks: u64,
    bytes: u64,
    greeting: Vec<u8>,
    figures: [u64; FIGURES],
}

/// All sessions of this user's processes on this machine, in no particular order.
///
/// A session in which data goes both ways is two here, one for each way.
///
/// It looks at memory that the processes share and that only they can write; they
/// notice nothing. Processes that this one cannot see (in another container, say) are
/// not found, nor, on Windows, the later ones of many sessions of one process.
///
/// # Errors
///
/// [`Error::Os`] if processes cannot be listed. One that ends, or cannot be looked at,
/// is left out.
///
/// # Example
///
/// ```
/// for session in brigade::sessions()? {
///     let pid = |member: Option<&brigade::Member>| member.map(|member| member.process_id());
///     println!("reader {:?}, writer {:?}", pid(session.reader()), pid(session.writer()));
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn sessions() -> Result<Vec<Session>, Error> {
    let mut found = BTreeMap::new();
    sys::observe(|process_id, page| {
        let page = Copied(page);
        let Some(head) = head(&page) else {
            return;
        };
        let new = || (head.epoch, head.session());
        let (newest, session) = found.entry((head.number, head.lane)).or_insert_with(new);
        // What is left of a pair whose partner was replaced is no session any more.
        if head.epoch < *newest {
            return;
        }
        if head.epoch > *newest {
            (*newest, *session) = new();
        }
        let member = match head.side {
            Side::Reader => &mut session.reader,
            Side::Writer => &mut session.writer,
        };
        *member = Some(Member::of(process_id, &page));
    })?;
    Ok(found.into_values().map(|(_, session)| session).collect())
}

/// Which pair a region is of, and what its owner is in it.
struct Head {
    /// The session's.
    number: u64,
    lane: u32,
    epoch: u64,
    side: Side,
    geometry: Geometry,
}

impl Head {
    /// Without anybody in it yet.
    fn session(&self) -> Session {
        Session {
            block_size: self.geometry.block_size(),
            block_count: self.geometry.block_count(),
            reader: None,
            writer: None,
        }
    }
}

/// `None` if it speaks another version.
fn head(page: &Copied<'_>) -> Option<Head> {
    let is_ours = page.word(offset_of!(Control<Theirs>, magic)) == layout::MAGIC
        && page.half(offset_of!(Control<Theirs>, version)) == layout::VERSION
        && page.word(offset_of!(Control<Theirs>, stamp)) == layout::STAMP;
    if !is_ours {
        return None;
    }
    let size = |offset| usize::try_from(page.word(offset));
    let block_size = size(offset_of!(Control<Theirs>, block_size));
    let count = size(offset_of!(Control<Theirs>, block_count));
    Some(Head {
        number: page.word(offset_of!(Control<Theirs>, session)),
        lane: page.half(offset_of!(Control<Theirs>, lane)),
        epoch: page.word(offset_of!(Control<Theirs>, epoch)),
        side: Side::from_role(page.half(offset_of!(Control<Theirs>, role)))?,
        geometry: Geometry::new(block_size.ok()?, count.ok()?).ok()?,
    })
}

/// A copy of the beginning of a [`Control`].
struct Copied<'p>(&'p [u8; SHOWN]);

impl Copied<'_> {
    fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        std::array::from_fn(|index| self.0[offset + index])
    }

    fn half(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(offset))
    }

    fn word(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.bytes(offset))
    }

    fn greeting(&self) -> &[u8] {
        let len = self.half(offset_of!(Control<Theirs>, greeting_len)) as usize;
        let all = &self.0[offset_of!(Control<Theirs>, greeting)..][..GREETING_MAX];
        &all[..len.min(GREETING_MAX)]
    }
}

impl Session {
    /// Size of each block in bytes.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Number of blocks in the pool.
    pub fn block_count(&self) -> usize {
        self.block_count
    }

    /// The process that fills blocks; `None` if it has not come yet, or has gone.
    pub fn reader(&self) -> Option<&Member> {
        self.reader.as_ref()
    }

    /// The process that drains blocks; `None` if it has not come yet, or has gone.
    pub fn writer(&self) -> Option<&Member> {
        self.writer.as_ref()
    }

    /// What has been given back so far.
    pub fn delivered(&self) -> Delivered {
        self.writer
            .as_ref()
            .map_or_else(Delivered::default, |writer| Delivered {
                blocks: writer.blocks,
                bytes: writer.bytes,
            })
    }

    /// Blocks that are sent and not given back yet. If it stays near
    /// [`Session::block_count`], the Writer is the slower one; if near 0, the Reader.
    pub fn blocks_under_way(&self) -> u64 {
        let sent = self.reader.as_ref().map_or(0, |reader| reader.blocks);
        // The two were not looked at in the same moment.
        let under_way = sent.saturating_sub(self.delivered().blocks);
        under_way.min(self.block_count as u64)
    }
}

impl Member {
    fn of(process_id: u32, page: &Copied<'_>) -> Member {
        let published = offset_of!(Control<Theirs>, published);
        let figures = offset_of!(Control<Theirs>, figures);
        Member {
            process_id,
            blocks: page.word(published + offset_of!(Published<Theirs>, blocks)),
            bytes: page.word(published + offset_of!(Published<Theirs>, bytes)),
            greeting: page.greeting().to_vec(),
            figures: std::array::from_fn(|index| page.word(figures + index * 8)),
        }
    }

    /// Its process id.
    pub fn process_id(&self) -> u32 {
        self.process_id
    }

    /// What it gave to [`Options::greeting`](crate::Options::greeting).
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// Its numbers of progress: see [`Monitor::set_figure`](crate::Monitor::set_figure).
    pub fn figures(&self) -> [u64; FIGURES] {
        self.figures
    }
}
