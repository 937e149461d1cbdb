//! An Entra tenant that runs in the process, for trying, testing and rehearsing.
