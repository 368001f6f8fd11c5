//! Samples of iceoryx2, loaned and filled where they are; waits as its own benchmark
//! does: it looks again and again.

use std::hint::spin_loop;
use std::time::Duration;

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::{Outcome, copy_out, middle_of_a_page, new_bytes, spawn, tell, wait, wait_for};

/// As many blocks as brigade has, and as the bare ring.
fn blocks(size: usize) -> usize {
    ((4 << 20) / size).clamp(2, 1024)
}

type Samples = PortFactory<ipc::Service, [u8], ()>;

fn service(name: &str, size: usize) -> Outcome<(Node<ipc::Service>, Samples)> {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let samples = node
        .service_builder(&name.try_into()?)
        .publish_subscribe::<[u8]>()
        .payload_alignment(Alignment::new(64).ok_or("no alignment")?)
        .max_publishers(1)
        .max_subscribers(1)
        .history_size(0)
        .subscriber_max_buffer_size(blocks(size))
        .enable_safe_overflow(false)
        .open_or_create()?;
    Ok((node, samples))
}

pub fn drain(size: usize, count: u64) -> Outcome<f64> {
    let name = format!("brigade-bench-{}", std::process::id());
    let (_node, samples) = service(&name, size)?;
    let subscriber: Subscriber<ipc::Service, [u8], ()> = samples.subscriber_builder().create()?;
    let mut child = spawn("iceoryx2", &name, size, count)?;
    wait_for(child.stdout.as_mut().ok_or("no pipe")?)?;
    // Connects: what is sent before is lost.
    subscriber.has_samples()?;
    tell(child.stdin.as_mut().ok_or("no pipe")?)?;
    let took = copy_out(size, count, |look| {
        loop {
            if let Some(sample) = subscriber.receive()? {
                look(sample.payload());
                return Ok(());
            }
            spin_loop();
        }
    })?;
    // What was sent is there as long as who sent it.
    tell(child.stdin.as_mut().ok_or("no pipe")?)?;
    wait(child)?;
    Ok(took)
}

pub fn fill(name: &str, size: usize, count: u64) -> Outcome<()> {
    let mut memory = new_bytes(size);
    let data = &*middle_of_a_page(&mut memory, size);
    let (_node, samples) = service(name, size)?;
    let publisher: Publisher<ipc::Service, [u8], ()> = samples
        .publisher_builder()
        .initial_max_slice_len(size)
        .allocation_strategy(AllocationStrategy::Static)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()?;
    tell(std::io::stdout())?;
    wait_for(std::io::stdin())?;
    // So as not to share a processor with who spins already.
    std::thread::sleep(Duration::from_millis(5));
    for _ in 0..count {
        let sample = publisher.loan_slice_uninit(size)?;
        sample.write_from_slice(data).send()?;
    }
    wait_for(std::io::stdin())
}
