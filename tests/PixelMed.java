import com.pixelmed.apps.CheckAllUIDReferencesResolve;
import com.pixelmed.validate.DicomSRValidator;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * PixelMed's validators in one process, since compiling the templates takes far longer than checking a file.
 *
 * <p>Reads "template FILE" and "references FOLDER" lines and ends each answer with a line that holds only END.
 */
public class PixelMed {
    public static void main(String[] none) throws Exception {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        System.setErr(out); // where the reference check's logger writes
        DicomSRValidator validator = new DicomSRValidator();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] request = line.split(" ", 2);
            try {
                if (request[0].equals("references")) {
                    new CheckAllUIDReferencesResolve(new String[] {request[1]});
                } else {
                    // code meanings in their case, and template identifiers; neither ambiguity nor order, which
                    // costs minutes: TID 1500 takes TID 1410 for 1501, and the order of TID 2002 is not significant
                    out.print(validator.validate(request[1], false, true, false, false, true));
                }
            } catch (Exception error) {
                out.println("Failed: " + error);
            }
            out.println("END");
        }
    }
}
