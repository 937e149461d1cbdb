//! One rotation, from *intended* to *completed*.
