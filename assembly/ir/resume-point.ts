/** Words that tell how far a program that is run slice by slice has come. */
export enum ResumePoint {
  /** Address of the op that comes next. */
  Op,
  /** Which of its slices comes next, of how many; 0 of 0 before its first. */
  Slice,
  Slices,
  Length,
}
