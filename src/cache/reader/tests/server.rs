//! The server in memory, as the reader asks it.

use super::*;

impl IdleConnection for Server {
    fn list(self: Box<Self>, _: &RemotePath) -> RemoteResult<Listing> {
        unreachable!("a reader only reads")
    }
    fn fetch(self: Box<Self>, _: &RemotePath, _: u64) -> RemoteResult<Fetched> {
        unreachable!("a reader reads ranges on these")
    }
    fn open_range(
        self: Box<Self>,
        path: &RemotePath,
        range: std::ops::Range<u64>,
    ) -> RemoteResult<Box<dyn ReadStream>> {
        self.0.script.lock().stripes.push(range.clone());
        Remote::open_read(&*self, path, range.start)
    }
}

impl Remote for Server {
    fn idle_connection(&self, _: Errand, _: Duration) -> Option<Box<dyn IdleConnection>> {
        let has_idle = self.0.script.lock().has_idle;
        has_idle.then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn IdleConnection>)
    }

    fn open_read(&self, path: &RemotePath, offset: u64) -> RemoteResult<Box<dyn ReadStream>> {
        let mut script = self.0.script.lock();
        script.opened.push(offset);
        self.0.changed.notify_all();
        while script.opening_held {
            self.0.changed.wait(&mut script);
        }
        if !script.refusals.is_empty() {
            return Err(script.refusals.remove(0));
        }
        let len = *script.lens.get(path.as_bytes()).ok_or(RemoteError::NotFound)?;
        script.streams += 1;
        script.streams_most = script.streams_most.max(script.streams);
        let mut cut_at = None;
        if let Some((after, times)) = script.cut_after.take() {
            cut_at = Some(offset + after);
            script.cut_after = (times > 1).then_some((after, times - 1));
        }
        self.0.changed.notify_all();
        Ok(Box::new(ScriptedStream { scripted: Arc::clone(&self.0), position: offset, len, cut_at }))
    }

    fn connections(&self) -> Option<Connections> {
        self.0.script.lock().connections.clone()
    }

    fn open_read_whole(&self, path: &RemotePath) -> RemoteResult<Box<dyn ReadStream>> {
        self.0.script.lock().wholes += 1;
        self.open_read(path, 0)
    }

    fn open_range(&self, path: &RemotePath, range: std::ops::Range<u64>) -> RemoteResult<Box<dyn ReadStream>> {
        self.0.script.lock().ranges.push(range.clone());
        self.open_read(path, range.start)
    }

    fn open_and_ask(
        &self,
        path: &RemotePath,
        extent: Extent,
        _: Option<u64>,
        is_due: &dyn Fn() -> bool,
    ) -> RemoteResult<(Box<dyn ReadStream>, Option<Told>)> {
        let stream = match extent {
            Extent::From(offset) => self.open_read(path, offset),
            Extent::Whole => self.open_read_whole(path),
            Extent::Range(range) => self.open_range(path, range),
        }?;
        let tells = |script: &Script| script.can_tell && !script.is_mute;
        if !tells(&self.0.script.lock()) || !is_due() {
            return Ok((stream, None));
        }
        let mut script = self.0.script.lock();
        script.told += 1;
        Ok((stream, Some(Told { entry: script.entry(path)?, at: Instant::now() })))
    }

    fn tells_with_reads(&self, _: &RemotePath) -> bool {
        self.0.script.lock().can_tell
    }

    fn list(&self, _: &RemotePath) -> RemoteResult<Listing> {
        unreachable!("a reader only reads")
    }
    fn stat(&self, path: &RemotePath) -> RemoteResult<Entry> {
        let mut script = self.0.script.lock();
        script.asked += 1;
        script.asked_beside = script.streams;
        script.entry(path)
    }
    fn times(&self, _: &RemotePath, _: &[Name]) -> RemoteResult<Vec<Option<Timestamp>>> {
        unreachable!("a reader only reads")
    }
    fn open_write(&self, _: &RemotePath, _: WriteMode) -> RemoteResult<Box<dyn WriteStream>> {
        unreachable!("a reader only reads")
    }
    fn rename(&self, _: &RemotePath, _: &RemotePath) -> RemoteResult<()> {
        unreachable!("a reader only reads")
    }
    fn remove_file(&self, _: &RemotePath) -> RemoteResult<()> {
        unreachable!("a reader only reads")
    }
    fn remove_directory(&self, _: &RemotePath) -> RemoteResult<()> {
        unreachable!("a reader only reads")
    }
    fn make_directory(&self, _: &RemotePath) -> RemoteResult<()> {
        unreachable!("a reader only reads")
    }
    fn make_symlink(&self, _: &RemotePath, _: &[u8]) -> RemoteResult<()> {
        unreachable!("a reader only reads")
    }
    fn set_modified(&self, _: &RemotePath, _: Timestamp) -> RemoteResult<Timestamp> {
        unreachable!("a reader only reads")
    }
    fn set_mode(&self, _: &RemotePath, _: u32) -> RemoteResult<()> {
        unreachable!("a reader only reads")
    }
    fn space(&self, _: &RemotePath) -> RemoteResult<Option<Space>> {
        unreachable!("a reader only reads")
    }
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }
}
