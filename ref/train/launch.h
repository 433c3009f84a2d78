/* The processes that were started together to train one model: by mpirun, or by Slurm's srun. The one place that knows of MPI.
 */
#ifndef EDIY_TRAIN_LAUNCH_H
#define EDIY_TRAIN_LAUNCH_H

#include "base/ranks.h"

/* Joins the others. Started alone, or by hand: one rank. Null, with one line in err, where several were started and would train one copy
 * each: this program was built without MPI (make MPI=1 builds with it), or the launcher does not speak to the MPI it was built with. Once a
 * process. */
MUST_CHECK const struct ranks *launch_open(struct error *err);

/* Waits for the other ranks and leaves them. To be called last, after everything for the user has been written: launchers end the others
 * when one process has ended with a failure. Nothing if none were joined. */
void launch_close(void);

/* Which of the processes started together this is, as the launcher says, and 0 if it does not: for a line that one of them should say. */
int launch_number(void);

#endif
