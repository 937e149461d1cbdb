//! What the process gives up; in a file of its own, for it can't be taken back.

use keywheel::process::forbid_core_dumps;
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

#[test]
fn p6_no_core_dump_of_this_process_or_its_children() {
    forbid_core_dumps().unwrap();
    let limit = getrlimit(Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
}
