//! Pictures that one process makes, and several tasks of another look at.
//!
//! Run it twice with the same name: the first makes them, the second looks at COUNT of them.
//!
//!     cargo run -p brigade-tokio --example pictures -- my-pictures 200
//!
//! The maker waits for three things at once: the time of the next picture, a letter that says
//! "enough", and its partner's death. The other one holds up to four pictures, each in a task of
//! its own; no picture is copied.
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

use std::error::Error;
use std::time::Duration;

use brigade_tokio::{AsyncReader, AsyncWriter, Interest, Options, OwnedDataBlock, Role};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::{MissedTickBehavior, interval};

const PICTURE: usize = 640 * 480;

/// Pictures that are looked at at the same time.
const TASKS: usize = 4;

/// The kind of the letter that says so.
const ENOUGH: u16 = 1;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("pictures NAME [COUNT]")?;
    let count = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let options = Options::new().block_size(PICTURE).block_count(8);
    match brigade_tokio::join(&name, &options).await? {
        Role::Reader(reader) => make(reader).await,
        Role::Writer(writer) => look_at(writer, count).await,
    }
}

async fn make(mut reader: AsyncReader) -> Result<(), Box<dyn Error>> {
    let mut clock = interval(Duration::from_millis(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut made = 0;
    loop {
        // What is not ready first is dropped, and takes nothing with it. If the partner dies,
        // to wait for its letter is an error.
        tokio::select! {
            _ = clock.tick() => {}
            found = reader.ready(Interest::LETTERS) => found?,
        }
        if reader
            .get_ref()
            .try_letter()?
            .is_some_and(|letter| letter.kind == ENOUGH)
        {
            break;
        }
        let mut block = reader.empty_block().await?;
        block.fill(made as u8);
        reader.send_block(block, PICTURE, made)?;
        made += 1;
    }
    let delivered = reader.finish().await?;
    println!(
        "maker: {made} pictures made, {} delivered",
        delivered.blocks
    );
    assert_eq!(made, delivered.blocks);
    Ok(())
}

async fn look_at(mut writer: AsyncWriter, count: usize) -> Result<(), Box<dyn Error>> {
    let looked: Vec<u64> = (&mut writer)
        .take(count)
        .map_err(Box::<dyn Error>::from)
        .map_ok(|picture| async move { Ok(tokio::spawn(look(picture)).await?) })
        .try_buffered(TASKS)
        .try_collect()
        .await?;
    assert!(looked.into_iter().eq(0..count as u64), "all, and in order");
    writer.post(ENOUGH, b"").await?;
    let mut more = 0;
    while writer.try_next().await?.is_some() {
        more += 1;
    }
    let delivered = writer.finish()?;
    println!("looker: {count} pictures looked at, {more} more came");
    assert_eq!(count + more, delivered.blocks as usize);
    Ok(())
}

/// Which picture it is. Dropped here, the block goes back.
async fn look(picture: OwnedDataBlock) -> u64 {
    assert!(picture.iter().all(|&pixel| pixel == picture.tag() as u8));
    picture.tag()
}
