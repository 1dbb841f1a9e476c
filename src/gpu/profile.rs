//! Times of the launches of a step.
//!
//! On lavapipe 22.3.6 timestamps make sense: they are taken as the queue comes to them, between dispatches that run one
//! after another. `docs/BENCHMARKS.md` compares the three clocks.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use super::Shared;
use super::step::{GpuStep, Launch};
use crate::backend::{Clock, RawLaunch, Timings, median};
use crate::error::{Error, Result};

/// Submissions of nothing whose median is taken off launches that the host timed.
const EMPTY: usize = 31;

/// Windows of steps one after another.
const WINDOWS: usize = 3;

/// Queries of a set: [`wgpu::QUERY_SET_MAX_QUERIES`].
const MOST_QUERIES: usize = wgpu::QUERY_SET_MAX_QUERIES as usize;

/// Timestamps of the passes of one submission.
struct Stamps {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    mapped: wgpu::Buffer,
    count: u32,
}

impl Stamps {
    fn new(device: &wgpu::Device, count: usize) -> Self {
        let label = Some("profile");
        let size = (count * wgpu::QUERY_SIZE as usize) as u64;
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
        };
        let count = count as u32;
        Stamps {
            set: device.create_query_set(&wgpu::QuerySetDescriptor {
                label,
                ty: wgpu::QueryType::Timestamp,
                count,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            mapped: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            count,
        }
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..self.count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.mapped, 0, self.resolved.size());
    }

    /// The ticks, once `submission` has run.
    fn read(&self, gpu: &Shared, submission: wgpu::SubmissionIndex) -> Result<Vec<u64>> {
        let fail = |message: String| Error::Device {
            adapter: gpu.info.name.clone(),
            message: format!("timestamps could not be read: {message}"),
        };
        let (send, done) = channel();
        self.mapped.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            let _ = send.send(result);
        });
        gpu.poll(Some(submission))?;
        gpu.take_fault()?;
        done.recv().map_err(|e| fail(e.to_string()))?.map_err(|e| fail(e.to_string()))?;
        let ticks = {
            let view = self.mapped.slice(..).get_mapped_range().map_err(|e| fail(e.to_string()))?;
            view.chunks_exact(8).map(|b| u64::from_ne_bytes(b.try_into().unwrap_or_default())).collect()
        };
        self.mapped.unmap();
        Ok(ticks)
    }
}

impl GpuStep {
    /// Runs the step launch by launch: see [`crate::Step::profile`].
    pub(super) fn take_times(&mut self, runs: usize, clock: Option<Clock>) -> Result<Timings> {
        let features = self.gpu.device.features();
        let has = |clock| match clock {
            Clock::Launches => features
                .contains(wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES),
            Clock::Passes => features.contains(wgpu::Features::TIMESTAMP_QUERY),
            Clock::Host => true,
        };
        let best = [Clock::Launches, Clock::Passes].into_iter().find(|&c| has(c)).unwrap_or(Clock::Host);
        let clock = clock.unwrap_or(best);
        if !has(clock) {
            let name = &self.gpu.info.name;
            return Err(Error::Invalid(format!("{name} has no {}", clock.describe())));
        }
        // Kernels that are compiled at their first launch are so here; what is missing is said.
        self.run_and_wait()?;
        let shared: Arc<Shared> = self.gpu.clone();
        let (spans, alone, in_turn) = shared.scoped("the profile", || {
            let empty = median((0..EMPTY).map(|_| self.empty()).collect::<Result<Vec<f64>>>()?);
            let (mut spans, mut alone) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                let start = Instant::now();
                self.run_and_wait()?;
                alone.push(start.elapsed().as_secs_f64());
                spans.push(match clock {
                    Clock::Host => self.host_times(empty)?,
                    _ => self.stamped(clock)?,
                });
            }
            let mut in_turn = Vec::new();
            for _ in 0..WINDOWS {
                let start = Instant::now();
                (0..runs).try_for_each(|_| self.submit_steps(1))?;
                self.gpu.wait_all()?;
                in_turn.push(start.elapsed().as_secs_f64() / runs as f64);
            }
            Ok((spans, alone, in_turn))
        })?;
        let raw = |launch: &Launch| RawLaunch {
            task: launch.task,
            kernel: launch.pipeline.kernel.key.clone(),
            workgroups: launch.grid,
            args: launch.args.clone(),
        };
        let launches = self.launches.iter().flatten().map(raw).collect();
        Ok(Timings { device: self.gpu.info.clone(), clock, launches, runs: spans, alone, in_turn })
    }

    fn run_and_wait(&mut self) -> Result<()> {
        self.submit_steps(1)?;
        self.gpu.wait_all()
    }

    /// Seconds of a submission of nothing, waited for.
    fn empty(&self) -> Result<f64> {
        let start = Instant::now();
        let encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let index = self.gpu.submit([encoder.finish()]);
        self.gpu.poll(Some(index))?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// One step, a submission per launch.
    fn host_times(&self, empty: f64) -> Result<Vec<[f64; 2]>> {
        let mut end = 0.0;
        let mut spans = Vec::new();
        for launch in self.launches.iter().flatten() {
            let start = Instant::now();
            let mut encoder =
                self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                launch.encode(&mut pass, &mut None);
            }
            let index = self.gpu.submit([encoder.finish()]);
            self.gpu.poll(Some(index))?;
            let seconds = (start.elapsed().as_secs_f64() - empty).max(0.0);
            spans.push([end, seconds]);
            end += seconds;
        }
        Ok(spans)
    }

    /// One step in one submission, with timestamps.
    fn stamped(&self, clock: Clock) -> Result<Vec<[f64; 2]>> {
        let device = &self.gpu.device;
        let launches: Vec<&Launch> = self.launches.iter().flatten().collect();
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let chunk = match clock {
            Clock::Launches => MOST_QUERIES - 1,
            _ => MOST_QUERIES / 2,
        };
        let mut sets = Vec::new();
        for part in launches.chunks(chunk) {
            let stamps = match clock {
                Clock::Launches => between_launches(device, &mut encoder, part),
                _ => around_passes(device, &mut encoder, part),
            };
            stamps.resolve(&mut encoder);
            sets.push(stamps);
        }
        let index = self.gpu.submit([encoder.finish()]);
        // Start and end of every launch, in ticks.
        let mut pairs: Vec<[u64; 2]> = Vec::new();
        for stamps in &sets {
            let ticks = stamps.read(&self.gpu, index.clone())?;
            pairs.extend(match clock {
                Clock::Launches => ticks.windows(2).map(|w| [w[0], w[1]]).collect::<Vec<_>>(),
                _ => ticks.chunks_exact(2).map(|w| [w[0], w[1]]).collect(),
            });
        }
        let period = f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9;
        let origin = pairs.first().map_or(0, |p| p[0]);
        let mut last = 0;
        let spans = pairs.iter().map(|&[start, end]| {
            // No launch starts before the one ahead has ended: a pass that overlaps it is counted from there.
            let start = start.saturating_sub(origin).max(last);
            last = end.saturating_sub(origin).max(start);
            [start as f64 * period, (last - start) as f64 * period]
        });
        Ok(spans.collect())
    }
}

fn between_launches(
    device: &wgpu::Device,
    encoder: &mut wgpu::CommandEncoder,
    launches: &[&Launch],
) -> Stamps {
    let stamps = Stamps::new(device, launches.len() + 1);
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let mut current = None;
        pass.write_timestamp(&stamps.set, 0);
        for (i, launch) in launches.iter().enumerate() {
            launch.encode(&mut pass, &mut current);
            pass.write_timestamp(&stamps.set, i as u32 + 1);
        }
    }
    stamps
}

fn around_passes(device: &wgpu::Device, encoder: &mut wgpu::CommandEncoder, launches: &[&Launch]) -> Stamps {
    let stamps = Stamps::new(device, 2 * launches.len());
    for (i, launch) in launches.iter().enumerate() {
        let at = 2 * i as u32;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &stamps.set,
                beginning_of_pass_write_index: Some(at),
                end_of_pass_write_index: Some(at + 1),
            }),
        });
        launch.encode(&mut pass, &mut None);
    }
    stamps
}
