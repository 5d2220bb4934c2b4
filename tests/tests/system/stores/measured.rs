//! What a commit costs, on the machine that runs the tests. Printed; only gross slowness fails.

use super::*;
use std::time::Instant;

#[test]
fn commits_are_measured() {
    let redis = Redis::start(&[]).unwrap();
    let store =
        RedisStore::open(&RedisSettings { max_bucket_bytes: 64 << 20, ..settings(&redis.url()) })
            .unwrap();
    for (buckets, bytes) in [(0, 0), (16, 64), (256, 64), (1_024, 64)] {
        let life = store.create(&revision(), b"").unwrap();
        let payload = vec![7; bytes];
        let frames: Vec<(u32, &[u8])> = (0..buckets).map(|bucket| (bucket, &payload[..])).collect();
        let cpu = server_cpu(&redis);
        let mut times: Vec<f64> = (0..400)
            .map(|n| {
                let commit = step(life, 0, n, n + 1, &frames);
                let started = Instant::now();
                apply(&store, &commit);
                started.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        let cpu = (server_cpu(&redis) - cpu) / times.len() as f64 * 1e6;
        times.sort_by(f64::total_cmp);
        let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!(
            "commit of {buckets} buckets x {bytes} B: p50 {median:.0} us, p99 {p99:.0} us, Redis's CPU {cpu:.0} us, {:.0} commits/s",
            times.len() as f64 / times.iter().sum::<f64>() * 1e6
        );
        assert!(median < 100_000.0);
        let known: Vec<Known> = (0..buckets)
            .map(|bucket| Known {
                bucket: at(bucket),
                last: read(&store, bucket, None).1.last().map(|frame| (frame.id, frame.end)),
            })
            .collect();
        let started = Instant::now();
        for _ in 0..50 {
            store.read(&revision(), &known).unwrap();
        }
        println!(
            "  refresh of {buckets} unchanged: {:.0} us",
            started.elapsed().as_secs_f64() / 50.0 * 1e6
        );
    }
}

fn server_cpu(redis: &Redis) -> f64 {
    let info: String = redis::cmd("INFO").arg("cpu").query(&mut redis.connect().unwrap()).unwrap();
    let values = info
        .lines()
        .filter(|line| line.starts_with("used_cpu_user:") || line.starts_with("used_cpu_sys:"));
    values.filter_map(|line| line.split(':').nth(1)?.trim().parse::<f64>().ok()).sum()
}
