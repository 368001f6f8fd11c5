//! ipc-channel's channel of bytes.

use ipc_channel::ipc::{IpcBytesReceiver, IpcOneShotServer, IpcSender, bytes_channel};

use crate::{Outcome, copy_out, middle_of_a_page, new_bytes, spawn, wait};

pub fn drain(size: usize, count: u64) -> Outcome<f64> {
    let (server, name) = IpcOneShotServer::<IpcBytesReceiver>::new()?;
    let child = spawn("ipc-channel", &name, size, count)?;
    let (_, receiver) = server.accept()?;
    let took = copy_out(size, count, |look| {
        look(&receiver.recv()?);
        Ok(())
    })?;
    wait(child)?;
    Ok(took)
}

pub fn fill(name: &str, size: usize, count: u64) -> Outcome<()> {
    let mut memory = new_bytes(size);
    let data = &*middle_of_a_page(&mut memory, size);
    let (sender, receiver) = bytes_channel()?;
    IpcSender::connect(name.to_owned())?.send(receiver)?;
    for _ in 0..count {
        sender.send(data)?;
    }
    Ok(())
}
