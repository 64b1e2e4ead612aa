// Package alloc decides which layer of which source each receiver gets
// (bridge.md §14): priorities, last-N, constraints, bandwidth.
//
// Rules of this package:
//   - It is pure: no clocks, no goroutines, no packets. What it is given it does
//     not change and does not keep.
//   - Bandwidth comes in as a number; an estimator sits elsewhere.
//   - The rules and their order are JVB's, because clients are tuned to them;
//     where we differ the reason stands beside it.
package alloc
