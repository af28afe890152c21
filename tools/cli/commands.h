// The subcommands of `thimble`. Each takes its own arguments (without the program's and the
// subcommand's name) and gives the exit status.
#pragma once

#include "tools/cli/options.h"

namespace thimble::cli {

int run_command(const Arguments& arguments);
int boot_command(const Arguments& arguments);
int prepare_command(const Arguments& arguments);
int image_command(const Arguments& arguments);
int snapshot_command(const Arguments& arguments);
int doctor_command(const Arguments& arguments);
int template_command(const Arguments& arguments);
int daemon_command(const Arguments& arguments);
int launch_command(const Arguments& arguments);
int launch_many_command(const Arguments& arguments);
int supervise_command(const Arguments& arguments);  // for launch_command only
int stop_command(const Arguments& arguments);
int logs_command(const Arguments& arguments);
int status_command(const Arguments& arguments);
int top_command(const Arguments& arguments);
int exec_command(const Arguments& arguments);
int test_command(const Arguments& arguments);

}  // namespace thimble::cli
