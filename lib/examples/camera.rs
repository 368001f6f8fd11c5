//! A camera that never waits, and an encoder that is slower and wants the newest frame.
//!
//! Run it twice with the same name: the first is the camera, the second the encoder.
//!
//!     cargo run -p brigade --example camera -- my-camera 300
//!
//! The camera drops a frame for which there is no empty block; the encoder passes over what
//! has become old while it worked. A letter asks for a key frame: all frames are key frames
//! then, until a second letter says that one has come, as any single one might be skipped.
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use brigade::{Options, Reader, Role, Writer};

const FRAME: usize = 640 * 480;

/// The kinds of the encoder's letters.
const KEY_FRAME_PLEASE: u16 = 1;
const KEY_FRAME_SEEN: u16 = 2;
const STOP: u16 = 3;

/// The kinds of the camera's blocks.
const PLAIN_FRAME: u16 = 0;
const KEY_FRAME: u16 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("camera NAME [FRAMES]")?;
    let frames = arguments.next().map_or(Ok(300), |text| text.parse())?;
    // More blocks than frames are made while one is encoded: the newest always finds room.
    let options = Options::new().block_size(FRAME).block_count(32);
    match brigade::join(&name, &options)? {
        Role::Reader(reader) => camera(&reader),
        Role::Writer(writer) => encoder(&writer, frames),
    }
}

fn camera(reader: &Reader) -> Result<(), Box<dyn Error>> {
    let (mut made, mut dropped, mut kind) = (0, 0, PLAIN_FRAME);
    'recording: loop {
        while let Some(letter) = reader.try_letter()? {
            match letter.kind {
                KEY_FRAME_PLEASE => kind = KEY_FRAME,
                KEY_FRAME_SEEN => kind = PLAIN_FRAME,
                _ => break 'recording,
            }
        }
        match reader.try_empty_block()? {
            Some(mut block) => {
                block.fill(made as u8);
                block.send_as(FRAME, brigade::Label::new(kind, made))?;
            }
            None => dropped += 1,
        }
        made += 1;
        sleep(Duration::from_millis(1));
    }
    let sent = reader.finish()?.blocks;
    println!("camera: {made} frames made, {sent} sent, {dropped} dropped");
    assert_eq!(made, sent + dropped);
    Ok(())
}

fn encoder(writer: &Writer, frames: u64) -> Result<(), Box<dyn Error>> {
    let (mut encoded, mut skipped, mut key_frames) = (0, 0, 0);
    let mut last_number = None;
    let mut is_key_wanted = false;
    while encoded < frames || is_key_wanted {
        if encoded % 30 == 0 && encoded < frames {
            writer.post(KEY_FRAME_PLEASE, b"")?;
            is_key_wanted = true;
        }
        let newest = writer.newest_block()?.ok_or("the camera has stopped")?;
        let frame = newest.block;
        skipped += newest.skipped as u64;
        assert!(frame.iter().all(|&pixel| pixel == frame.tag() as u8));
        assert!(last_number < Some(frame.tag()), "frames only get newer");
        last_number = Some(frame.tag());
        if is_key_wanted && frame.kind() == KEY_FRAME {
            writer.post(KEY_FRAME_SEEN, b"")?;
            is_key_wanted = false;
            key_frames += 1;
        }
        encoded += 1;
        sleep(Duration::from_millis(5)); // this is the encoding
    }
    writer.post(STOP, b"")?;
    while writer.data_block()?.is_some() {
        skipped += 1;
    }
    let delivered = writer.finish()?.blocks;
    println!("encoder: {encoded} frames encoded, {skipped} skipped, {key_frames} key frames");
    assert!(key_frames > 0);
    assert_eq!(encoded + skipped, delivered);
    Ok(())
}
